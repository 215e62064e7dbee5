//! Whether a reaction is one emoji.

/// Whether `text` is exactly one emoji: a picture with its variation, skin tone or tags, a joined sequence of such, a flag,
/// or a keycap.
pub(super) fn is_single_emoji(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    match chars.as_slice() {
        [a, b] if is_regional(*a) && is_regional(*b) => true,
        ['0'..='9' | '#' | '*', '\u{20e3}'] | ['0'..='9' | '#' | '*', '\u{fe0f}', '\u{20e3}'] => true,
        // Parts joined by zero-width joiners, such as the members of a family.
        sequence => sequence.split(|c| *c == '\u{200d}').all(is_part),
    }
}

/// A picture and what modifies it.
fn is_part(part: &[char]) -> bool {
    match part.split_first() {
        Some((first, modifiers)) => is_picture(*first) && modifiers.iter().all(|c| is_modifier(*c)),
        None => false,
    }
}

fn is_regional(c: char) -> bool {
    ('\u{1f1e6}'..='\u{1f1ff}').contains(&c)
}

fn is_modifier(c: char) -> bool {
    matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

fn is_picture(c: char) -> bool {
    matches!(
        c,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{24c2}' | '\u{3030}' | '\u{303d}'
            | '\u{3297}' | '\u{3299}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}'
            | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1f1e5}' | '\u{1f200}'..='\u{1f3fa}'
            | '\u{1f400}'..='\u{1faff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_is_one() {
        for one in ["👍", "👍🏽", "❤️", "🇧🇷", "1️⃣", "👨‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☺"]
        {
            assert!(is_single_emoji(one), "{one}");
        }
        for other in ["", "👍👍", "a", "1", "👍 ", "🇧🇷🇧🇷", "\u{200d}", "ok 👍"] {
            assert!(!is_single_emoji(other), "{other}");
        }
    }
}
