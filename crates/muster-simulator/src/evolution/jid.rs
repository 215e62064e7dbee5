//! Addresses as WhatsApp knows them, from what callers write.

use std::borrow::Cow;

/// Fewest and most digits of a phone number (E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// From this many digits on, a bare number is taken for a group.
const GROUP_DIGITS_MIN: usize = 18;

/// Old group names are two numbers with a hyphen, at least this long.
const OLD_GROUP_CHARS_MIN: usize = 24;

/// The JID that the gateway makes of a `number`.
///
/// Full JIDs stay as they are, but for a device suffix. Of a phone number the digits remain; the Brazilian ninth digit
/// (area codes from 31 on, mobile numbers) and the Mexican and Argentinian mobile prefix go, so the result may differ from
/// what was written.
pub fn normalise(number: &str) -> String {
    let number = without_device(number);
    if ["@g.us", "@s.whatsapp.net", "@lid", "@broadcast"].iter().any(|host| number.contains(host)) {
        return number.into_owned();
    }
    let bare: String = number.chars().filter(|c| !c.is_whitespace() && !matches!(c, '+' | '(' | ')')).collect();
    let bare = bare.split([':', '@']).next().unwrap_or_default();
    if bare.contains('-') && bare.len() >= OLD_GROUP_CHARS_MIN {
        let name: String = bare.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
        return format!("{name}@g.us");
    }
    let digits: String = bare.chars().filter(char::is_ascii_digit).collect();
    if digits.len() >= GROUP_DIGITS_MIN {
        return format!("{digits}@g.us");
    }
    format!("{}@s.whatsapp.net", national(&digits))
}

/// Removes the first `:digits`, which names one of a person's devices.
fn without_device(number: &str) -> Cow<'_, str> {
    for (at, _) in number.match_indices(':') {
        let rest = &number[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            return Cow::Owned(format!("{}{}", &number[..at], &rest[digits..]));
        }
    }
    Cow::Borrowed(number)
}

/// A phone number in the form under which the network knows it.
fn national(digits: &str) -> String {
    let mobile_prefix = digits.len() == 13 && (digits.starts_with("52") || digits.starts_with("54"));
    if mobile_prefix {
        return format!("{}{}", &digits[..2], &digits[3..]);
    }
    let brazilian = digits.len() == 13 && digits.starts_with("55");
    if brazilian && &digits[2..4] >= "31" && digits.as_bytes()[5] >= b'7' {
        return format!("{}{}", &digits[..4], &digits[5..]);
    }
    digits.to_owned()
}

/// Whether a JID names a group.
pub(crate) fn is_group(jid: &str) -> bool {
    jid.ends_with("@g.us")
}

/// Whether the network could know a person by this JID.
pub(crate) fn names_a_person(jid: &str) -> bool {
    let digits_only = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match jid.split_once('@') {
        Some((user, "s.whatsapp.net")) => digits_only(user) && PHONE_DIGITS.contains(&user.len()),
        Some((user, "lid")) => digits_only(user),
        _ => false,
    }
}

/// The part before the `@`.
pub(crate) fn user(jid: &str) -> &str {
    jid.split_once('@').map_or(jid, |(user, _)| user)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_become_what_the_network_knows() {
        for (number, jid) in [
            ("5511900000001", "5511900000001@s.whatsapp.net"),
            ("+55 (11) 90000-0001", "5511900000001@s.whatsapp.net"),
            ("5531987654321", "553187654321@s.whatsapp.net"),
            ("5531967654321", "5531967654321@s.whatsapp.net"),
            ("553187654321", "553187654321@s.whatsapp.net"),
            ("5215512345678", "525512345678@s.whatsapp.net"),
            ("5491123456789", "541123456789@s.whatsapp.net"),
            ("5511900000001:3@s.whatsapp.net", "5511900000001@s.whatsapp.net"),
            ("120363025246125486", "120363025246125486@g.us"),
            ("120363025246125486@g.us", "120363025246125486@g.us"),
            ("5511900000001-1600000000", "5511900000001-1600000000@g.us"),
            ("99887766554433@lid", "99887766554433@lid"),
            ("nobody", "@s.whatsapp.net"),
        ] {
            assert_eq!(normalise(number), jid, "{number}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_jid_that_stays(text in "\\PC{0,60}") {
            let jid = normalise(&text);
            prop_assert!(jid.contains('@'));
            prop_assert_eq!(normalise(&jid), without_device(&jid).into_owned());
        }

        #[test]
        fn any_phone_number_names_a_person(digits in "[1-9][0-9]{7,14}") {
            let jid = normalise(&digits);
            prop_assert!(names_a_person(&jid), "{}", jid);
            prop_assert_eq!(normalise(&digits), normalise(&format!("+{digits}")));
        }
    }
}
