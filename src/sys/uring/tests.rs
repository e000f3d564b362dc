//! Multishot receives with each kind of task work that the kernel has.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use super::*;
use crate::sys::event::Event as Waker;

const PATIENCE: Duration = Duration::from_secs(20);

/// A ring with its socket's peer.
struct Case<'c> {
    receive: MultishotRecv<'c>,
    socket: &'c UdpSocket,
    sender: &'c UdpSocket,
    wakers: &'c [Waker; WATCHED],
}

/// Runs a test on a ring of each kind, or says why it cannot.
fn each_kind(buffers: u16, test: impl Fn(Case<'_>)) {
    for task_work in [TaskWork::Deferred, TaskWork::Cooperative] {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        let wakers: [Waker; WATCHED] = std::array::from_fn(|_| Waker::new().unwrap());
        let watched = wakers.each_ref().map(AsFd::as_fd);
        match MultishotRecv::with(task_work, socket.as_fd(), watched, buffers) {
            Ok(receive) => test(Case {
                receive,
                socket: &socket,
                sender: &sender,
                wakers: &wakers,
            }),
            Err(error) => eprintln!("{task_work:?} is skipped: {error}"),
        }
    }
}

/// Takes a datagram out of an event; running out of buffers is none.
fn payload(event: Event<'_>) -> Option<Vec<u8>> {
    match event {
        Event::Datagram(Datagram::Whole(payload)) => Some(payload.to_vec()),
        Event::OutOfBuffers => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn running_out_of_buffers_loses_nothing() {
    for buffers in [1, 2, 8] {
        each_kind(buffers, |mut case| {
            let mut is_out = false;
            // Twice, so that the ring's counters go round; every third one is
            // empty, which ends a receive too.
            for _ in 0..2 {
                let sent: Vec<_> = (0..100u8).map(|n| vec![n; usize::from(n % 3)]).collect();
                for datagram in &sent {
                    case.sender.send(datagram).unwrap();
                }
                let mut received = Vec::new();
                while received.len() < sent.len() {
                    assert!(case.receive.wait(Duration::ZERO, PATIENCE).unwrap());
                    case.receive.visit(|event| {
                        is_out |= matches!(event, Event::OutOfBuffers);
                        received.extend(payload(event));
                    });
                }
                assert_eq!(received, sent);
            }
            // An empty one ends a receive that has more buffers than that.
            assert!(is_out || buffers > 2);
            assert!(!case.receive.has_lost_completions());
        });
    }
}

#[test]
fn finishing_delivers_what_was_taken_and_leaves_the_rest() {
    each_kind(4, |mut case| {
        quiet(&mut case.receive);
        for n in 0..10 {
            case.sender.send(&[n]).unwrap();
        }
        let mut received = Vec::new();
        let take = |event: Event<'_>| received.extend(payload(event).into_iter().flatten());
        assert!(case.receive.finish(take));
        case.socket.set_nonblocking(true).unwrap();
        let mut byte = [0];
        while case.socket.recv(&mut byte).is_ok() {
            received.extend(byte);
        }
        assert_eq!(received, Vec::from_iter(0..10));
    });
}

/// Takes the late answers of polls.
fn quiet(receive: &mut MultishotRecv<'_>) {
    while receive.wait(Duration::ZERO, Duration::ZERO).unwrap() {
        receive.visit(|event| panic!("{event:?}"));
    }
}

#[test]
fn a_watched_descriptor_ends_rest_and_wait_again_and_again() {
    each_kind(4, |mut case| {
        let mut rests = vec![Duration::ZERO];
        rests.extend(case.receive.features().min_wait.then_some(10 * PATIENCE));
        for rest in rests {
            for waker in case.wakers.iter().chain(case.wakers) {
                quiet(&mut case.receive);
                waker.set();
                assert!(case.receive.wait(rest, 20 * PATIENCE).unwrap());
                case.receive.visit(|event| panic!("{event:?}"));
                waker.clear();
                quiet(&mut case.receive);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        // Whether it rests by then or not, the rest must end.
                        std::thread::sleep(Duration::from_millis(20));
                        waker.set();
                    });
                    assert!(case.receive.wait(rest, 20 * PATIENCE).unwrap());
                });
                case.receive.visit(|event| panic!("{event:?}"));
                waker.clear();
            }
        }
    });
}

#[test]
fn a_rest_lets_datagrams_gather() {
    each_kind(64, |mut case| {
        if !case.receive.features().min_wait {
            return;
        }
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                for n in 0..40 {
                    case.sender.send(&[n]).unwrap();
                }
            });
            let rest = Duration::from_millis(300);
            assert!(case.receive.wait(rest, PATIENCE).unwrap());
            sending.join().unwrap();
        });
        let mut received = Vec::new();
        loop {
            case.receive
                .visit(|event| received.extend(payload(event).into_iter().flatten()));
            if received.len() == 40 || !case.receive.has_more() {
                break;
            }
            case.receive.fetch().unwrap();
        }
        assert_eq!(received, Vec::from_iter(0..40));
    });
}

#[test]
fn a_ring_takes_no_other_operation() {
    each_kind(4, |mut case| {
        if !case.receive.features().restricted {
            return;
        }
        const OTHER: u64 = 99;
        let other = opcode::Nop::new().build().user_data(OTHER);
        case.receive.push(&other);
        let _ = case.receive.ring.submit_and_wait(1);
        let mut completions = case.receive.ring.completion();
        let refused = completions.find(|completion| completion.user_data() == OTHER);
        assert_eq!(refused.unwrap().result(), -libc::EACCES);
        drop(completions);
        let another = case.receive.ring.submitter().register_files_sparse(1);
        assert_eq!(another.unwrap_err().raw_os_error(), Some(libc::EACCES));
    });
}

#[test]
fn room_for_every_completion() {
    assert_eq!(completions_max(1), 16);
    assert_eq!(completions_max(64), 128);
    assert_eq!(completions_max(1 << 15), 1 << 16);
}
