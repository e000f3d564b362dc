//! What a panic does: it ends the process, so that a supervisor starts it anew.
//! A thread that died quietly would leave a socket unread for ever.
//!
//! There is one exception. The library that reads YAML has known panics, which
//! our own checks keep away from it as far as they are known; should a mapping
//! file find another one, a reload must fail like any other bad reload.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

/// The exit status of a panic, the one of the reference.
const EXIT_CODE: i32 = 2;

thread_local! {
    /// This thread is within [`contain`].
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic is logged and ends the process.
#[allow(
    clippy::disallowed_methods,
    reason = "nothing of the program may run on after a panic"
)]
pub fn end_process() {
    std::panic::set_hook(Box::new(|info| {
        if !IS_CONTAINED.get() {
            log(info);
            std::process::exit(EXIT_CODE);
        }
    }));
}

/// Runs `work` and returns its result, or the message of its panic. What `work`
/// had begun to change must not be used after a panic.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    IS_CONTAINED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(false);
    result.map_err(|payload| message(&*payload).to_owned())
}

fn log(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location = info.location().map(tracing::field::display),
        message = message(info.payload()),
        backtrace = %std::backtrace::Backtrace::force_capture(),
        "Pitot panicked; this is a bug, please report it"
    );
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_is_an_error() {
        assert_eq!(contain(|| 5), Ok(5));
        let error = contain(|| -> i32 { panic!("number {}", 7) });
        assert_eq!(error, Err("number 7".to_owned()));
        assert_eq!(
            contain(|| -> i32 { panic!("plain") }),
            Err("plain".to_owned())
        );
        assert!(!IS_CONTAINED.get());
    }
}
