//! The suite that every store passes. A new database passes it before anything is built on it:
//!
//! ```ignore
//! muster_store::conformance_tests!(|| async { open_a_fresh_store().await });
//! ```
//!
//! Each case gets a fresh, empty store. Cases speak to the contract only.

#![expect(clippy::unwrap_used, reason = "a suite of tests")]

pub mod dispatching;
pub mod fixture;

/// Makes one test of each case of the suite. `$open` gives a fresh store: an `Arc<dyn Store>` with whatever must live as
/// long as it.
#[macro_export]
macro_rules! conformance_tests {
    ($open:expr) => {
        $crate::conformance_cases!($open; dispatching: a_message_goes_its_whole_way, what_is_due_again_is_not_overtaken,
            nothing_overtakes_an_attempt_that_may_return);
    };
}

/// See [`conformance_tests`].
#[macro_export]
#[doc(hidden)]
macro_rules! conformance_cases {
    ($open:expr; $($module:ident: $($case:ident),+);+ $(;)?) => {
        $(mod $module {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let (store, _keep) = ($open)().await;
                $crate::conformance::$module::$case($crate::conformance::fixture::Fixture::new(store).await).await;
            })+
        })+
    };
}
