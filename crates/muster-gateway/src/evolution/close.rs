//! Why a login ended, by the codes that the product passes on from the network.

use muster_domain::reconnect::CloseReason;

/// A close code that is a part of a normal link: the network asks for one restart right after pairing.
pub(super) const RESTART_REQUIRED: i64 = 515;

/// The codes after which the product gives the login up. After all others it reconnects by itself.
pub(super) fn is_final(code: i64) -> bool {
    matches!(code, 401 | 402 | 403 | 406)
}

/// What a close code means.
pub(super) fn reason(code: i64) -> CloseReason {
    match code {
        // 402 and 406 belong to the family of bans, but nothing confirms that they are one. A ban sticks to the identity,
        // so it needs more than a guess; either way only a person and a new link help.
        401 | 402 | 406 => CloseReason::LoggedOut,
        403 => CloseReason::Banned,
        440 => CloseReason::Replaced,
        408 | 411 | 428 | 500 | 503 | RESTART_REQUIRED => CloseReason::Lost,
        _ => CloseReason::Unknown,
    }
}

/// The code and the library's own word for it.
pub(super) fn detail(code: i64) -> String {
    let word = match code {
        401 => "loggedOut",
        403 => "forbidden",
        402 | 406 => "unnamed, possibly a ban",
        408 => "connectionLost or timedOut",
        411 => "multideviceMismatch",
        428 => "connectionClosed",
        440 => "connectionReplaced",
        500 => "badSession",
        503 => "unavailableService",
        RESTART_REQUIRED => "restartRequired",
        _ => "unknown",
    };
    format!("{code} {word}")
}

#[cfg(test)]
mod tests {
    use muster_domain::bot::Connection;

    use super::*;

    #[test]
    fn final_codes_need_a_new_link_and_the_others_do_not() {
        for code in 400..=600 {
            assert_eq!(is_final(code), reason(code).connection() == Connection::LoggedOut, "{}", detail(code));
        }
    }
}
