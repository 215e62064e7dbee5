//! Addresses as the product spells them (JIDs), and back.

use muster_domain::{Address, Network};

/// Host part of a person's JID.
const PERSON_HOST: &str = "s.whatsapp.net";

/// What send routes take as `number`: bare digits for a person, the whole JID for a group or a `@lid` identity.
/// `None` for what is no WhatsApp address.
pub(super) fn number(address: &Address) -> Option<String> {
    let address = Address::parse(Network::WhatsApp, address.as_str()).ok()?;
    let text = address.as_str();
    Some(text.strip_prefix('+').unwrap_or(text).to_owned())
}

/// The whole JID. `None` for what is no WhatsApp address.
pub(super) fn jid(address: &Address) -> Option<String> {
    let number = number(address)?;
    Some(if number.contains('@') { number } else { format!("{number}@{PERSON_HOST}") })
}

/// The address that a JID names. `None` for what is nobody that one could answer: status lists, broadcasts, newsletters,
/// bots of the network, and forms that are not known here.
pub(super) fn address(jid: &str) -> Option<Address> {
    let (user, host) = jid.split_once('@')?;
    // A device suffix (`…:3@lid`) names one of the person's devices, not another person.
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    Address::parse(Network::WhatsApp, &format!("{user}@{host}")).ok()
}

/// The address behind two spellings of the same person: the phone number where either gives it, since that is what
/// contacts and opt-outs are kept by; else what the first gives.
pub(super) fn address_of_either(jid: &str, alternative: Option<&str>) -> Option<Address> {
    let first = address(jid)?;
    if !first.as_str().ends_with("@lid") {
        return Some(first);
    }
    let other = alternative.and_then(address).filter(|other| other.as_str().starts_with('+'));
    Some(other.unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(Network::WhatsApp, text).unwrap()
    }

    #[test]
    fn both_ways() {
        for (address_text, number_text, jid_text) in [
            ("+5511900000001", "5511900000001", "5511900000001@s.whatsapp.net"),
            ("120363025246125486@g.us", "120363025246125486@g.us", "120363025246125486@g.us"),
            ("99887766554433@lid", "99887766554433@lid", "99887766554433@lid"),
        ] {
            let parsed = parse(address_text);
            assert_eq!(number(&parsed).unwrap(), number_text);
            assert_eq!(jid(&parsed).unwrap(), jid_text);
            assert_eq!(address(jid_text).unwrap(), parsed);
        }
        assert_eq!(number(&Address::from_stored("ana")), None);
    }

    #[test]
    fn a_device_is_its_person_and_nobody_is_nobody() {
        assert_eq!(address("5511900000001:12@s.whatsapp.net"), Some(parse("+5511900000001")));
        assert_eq!(address("99887766554433:2@lid"), Some(parse("99887766554433@lid")));
        for text in [
            "status@broadcast",
            "123@broadcast",
            "120363@newsletter",
            "13135550002@bot",
            "5511900000001",
            "",
            "@",
            "@lid",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn the_phone_number_wins_over_the_lid() {
        let phone = parse("+5511900000001");
        let lid = parse("99887766554433@lid");
        let person = "5511900000001@s.whatsapp.net";
        assert_eq!(address_of_either("99887766554433@lid", Some(person)), Some(phone.clone()));
        assert_eq!(address_of_either(person, Some("99887766554433@lid")), Some(phone));
        assert_eq!(address_of_either("99887766554433@lid", Some("x@newsletter")), Some(lid.clone()));
        assert_eq!(address_of_either("99887766554433@lid", None), Some(lid));
    }
}
