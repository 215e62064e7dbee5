//! The token that the gateway makes of a header named `jwt_key`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Seconds from issue to expiry.
const LIFETIME_S: i64 = 600;

/// A JSON Web Token signed with HS256. It covers the time, not the body of the webhook.
pub(crate) fn sign(key: &str, issued_at: i64) -> String {
    let expires_at = issued_at.saturating_add(LIFETIME_S);
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = format!(r#"{{"iat":{issued_at},"exp":{expires_at},"app":"evolution","action":"webhook"}}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map(|mac| mac.chain_update(&signed).finalize());
    // HMAC takes keys of every length, so there is always a signature.
    let signature = mac.map(|mac| URL_SAFE_NO_PAD.encode(mac.into_bytes())).unwrap_or_default();
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_products_claims() {
        // Computed with another implementation of HS256.
        assert_eq!(
            sign("secret", 1_767_225_600),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
             eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyNjIwMCwiYXBwIjoiZXZvbHV0aW9uIiwiYWN0aW9uIjoid2ViaG9vayJ9.\
             bJzAD5nj_1uyEkJkBMilTR_TvbIi4-hpmPf0lRciGPI"
        );
    }
}
