//! Texts with placeholders: `Olá {name}`.

use std::fmt;

/// A text whose placeholders name columns of a row. `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(String),
}

/// A template that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TemplateError {
    /// The character, from 1, at which it goes wrong.
    pub character: usize,
    what: &'static str,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {} of the text: {}", self.character, self.what)
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().enumerate().peekable();
        while let Some((index, c)) = chars.next() {
            let wrong = |what| TemplateError { character: index + 1, what };
            match c {
                '{' | '}' if chars.next_if(|(_, next)| *next == c).is_some() => literal.push(c),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some((_, '}')) => break,
                            Some((_, '{')) | None => {
                                return Err(wrong("a placeholder is not closed; write {name}, or {{ for a brace"));
                            }
                            Some((_, c)) => name.push(c),
                        }
                    }
                    let name = name.trim();
                    if name.is_empty() {
                        return Err(wrong("a placeholder has no name; write {name}, or {{}} for a pair of braces"));
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Placeholder(name.to_owned()));
                }
                '}' => return Err(wrong("a brace closes nothing; write }} for a brace")),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template { parts })
    }

    /// The text with every placeholder filled in, or the first name that `value` does not know.
    pub fn render<'a>(&'a self, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, &'a str> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Placeholder(name) => text.push_str(value(name).ok_or(name.as_str())?),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(text: &str) -> Result<String, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        template
            .render(|name| match name {
                "name" => Some("Ana"),
                "order no" => Some("12"),
                _ => None,
            })
            .map_err(|name| format!("unknown: {name}"))
    }

    #[test]
    fn placeholders_are_filled_and_braces_escaped() {
        assert_eq!(render("Olá {name}, pedido {order no}!").unwrap(), "Olá Ana, pedido 12!");
        assert_eq!(render("{ name }").unwrap(), "Ana");
        assert_eq!(render("{{name}} {{{name}}} }}").unwrap(), "{name} {Ana} }");
        assert_eq!(render("").unwrap(), "");
    }

    #[test]
    fn what_cannot_be_read_is_placed() {
        assert_eq!(render("Olá {nome}").unwrap_err(), "unknown: nome");
        assert!(render("Olá {name").unwrap_err().starts_with("character 5 of the text: a placeholder is not closed"));
        assert!(render("a {} b").unwrap_err().starts_with("character 3 of the text: a placeholder has no name"));
        assert!(render("ab}").unwrap_err().starts_with("character 3 of the text: a brace closes nothing"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}a ]{0,20}|.{0,40}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.render(|_| Some(""));
            }
        }

        #[test]
        fn an_escaped_text_comes_out_as_it_was(text in ".{0,40}") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(Template::parse(&escaped).unwrap().render(|_| None).unwrap(), text);
        }
    }
}
