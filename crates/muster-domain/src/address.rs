//! Addresses of recipients and senders, per network.

use std::fmt;

use crate::Violation;

/// A messaging network. What counts as an address depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Phone numbers in international form, groups and `@lid` identities.
    WhatsApp,
    /// Any printable address: for gateways that only measure.
    Null,
}

impl Network {
    /// All networks, in the order of declaration.
    pub const ALL: [Network; 2] = [Network::WhatsApp, Network::Null];

    /// Reads [`Network::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.as_str() == text)
    }

    /// The network's name as operators write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Network::WhatsApp => "whatsapp",
            Network::Null => "null",
        }
    }
}

/// Longest address in bytes: a Matrix room or user id may take 255.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// An address in the one spelling that Muster stores and compares.
///
/// WhatsApp: `+` and 7 to 15 digits (E.164) for a person, or `digits@g.us`, `digits@lid` as the network writes them.
/// `Debug` does not show it: addresses are personal data and stay out of logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Box<str>);

impl Address {
    /// Reads what a person or a gateway wrote, and normalises it for `network`.
    pub fn parse(network: Network, text: &str) -> Result<Self, Violation> {
        match network {
            Network::WhatsApp => parse_whatsapp(text),
            Network::Null => parse_null(text),
        }
    }

    /// Takes an address that was normalised before, such as one that comes out of the store.
    pub fn from_stored(text: &str) -> Self {
        Address(text.into())
    }

    /// The normalised spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The spelling with the middle hidden, for screens: `+55*******0001`.
    pub fn masked(&self) -> String {
        let (user, host) = self.0.split_once('@').map_or((&*self.0, None), |(user, host)| (user, Some(host)));
        let count = user.chars().count();
        let masked: String =
            user.chars().enumerate().map(|(i, c)| if i < 3 || i + 4 >= count { c } else { '*' }).collect();
        match host {
            Some(host) => format!("{masked}@{host}"),
            None => masked,
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

fn parse_whatsapp(text: &str) -> Result<Address, Violation> {
    let wrong = || {
        Violation::new(
            "",
            "must be a WhatsApp address: a phone number in international form such as \"+5511900000001\" (7 to 15 digits), \
             or a JID ending in @s.whatsapp.net, @g.us or @lid",
        )
    };
    let text = text.trim();
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(wrong());
    }
    let digits_only = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if let Some((user, host)) = text.split_once('@') {
        return match host {
            // A device suffix (`5511900000001:3@…`) names one of the person's devices, not another person.
            "s.whatsapp.net" | "c.us" => phone(user.split_once(':').map_or(user, |(user, _)| user)).ok_or_else(wrong),
            "lid" if digits_only(user) && user.len() <= 20 => Ok(Address(text.into())),
            "g.us" if user.len() <= 40 && user.split('-').count() <= 2 && user.split('-').all(digits_only) => {
                Ok(Address(text.into()))
            }
            _ => Err(wrong()),
        };
    }
    phone(text).ok_or_else(wrong)
}

/// Reads a phone number with the separators that people write.
fn phone(text: &str) -> Option<Address> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '(' | ')')) {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    ((7..=15).contains(&digits.len()) && !digits.starts_with('0')).then(|| Address(format!("+{digits}").into()))
}

fn parse_null(text: &str) -> Result<Address, Violation> {
    if text.is_empty() || text.len() > ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Violation::new("", format!("must have 1 to {ADDRESS_BYTES_MAX} printable bytes")));
    }
    Ok(Address(text.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatsapp_spellings_meet_in_one() {
        for text in [
            "+55 11 90000-0001",
            "5511900000001",
            "5511900000001@s.whatsapp.net",
            "+55 (11) 90000.0001",
            "5511900000001:7@s.whatsapp.net",
        ] {
            assert_eq!(Address::parse(Network::WhatsApp, text).unwrap().as_str(), "+5511900000001", "{text}");
        }
        for text in [
            "",
            "+",
            "123456",
            "0123456789",
            "+5511900000001x",
            "ana@example.com",
            "1234567890123456",
            "@lid",
            "1-2-3@g.us",
        ] {
            assert!(Address::parse(Network::WhatsApp, text).is_err(), "{text}");
        }
        assert!(Address::parse(Network::WhatsApp, "120363025246125486@g.us").is_ok());
        assert!(Address::parse(Network::WhatsApp, "99887766554433@lid").is_ok());
    }

    #[test]
    fn masking_hides_the_middle() {
        assert_eq!(Address::from_stored("+5511900000001").masked(), "+55*******0001");
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent(text in "\\PC{0,60}") {
            for network in [Network::WhatsApp, Network::Null] {
                if let Ok(address) = Address::parse(network, &text) {
                    prop_assert_eq!(Address::parse(network, address.as_str()).unwrap(), address);
                }
            }
        }
    }
}
