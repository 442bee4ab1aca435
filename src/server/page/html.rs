//! HTML that cannot be injected into: markup is what stands in this program, all else is text and is escaped.

use std::fmt::{self, Display, Write};

/// A page, or a part of one, under construction.
#[derive(Default)]
pub(super) struct Html(String);

/// Attributes: names of our own, values of anybody's.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Html {
    /// Markup of our own: no text of anybody else's is `'static`.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text, escaped.
    pub(super) fn text(&mut self, text: impl Display) {
        write!(Escaped(&mut self.0), "{text}").expect("a String takes every write");
    }

    /// Opens an element.
    pub(super) fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
        self.0.push('>');
    }

    /// Closes an element.
    pub(super) fn close(&mut self, tag: &'static str) {
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// An element, and what is in it.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        fill: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        fill(self);
        self.close(tag);
    }

    /// An element with a text in it.
    pub(super) fn put(&mut self, tag: &'static str, attributes: Attributes<'_>, text: impl Display) {
        self.element(tag, attributes, |html| html.text(text));
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Escapes what is written to it. What would turn the direction of writing around, and what is no letter at all, is
/// replaced.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                    self.0.push('\u{fffd}');
                }
                letter if letter.is_control() => self.0.push('\u{fffd}'),
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_stranger_chose_stays_text() {
        let evil = "</td><script>alert('1')</script>\" onload=\"x\u{202e}\n&amp;";
        let mut html = Html::default();
        html.put("td", &[("title", &evil)], evil);
        let escaped = "&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; onload=&quot;x\u{fffd}\u{fffd}&amp;amp;";
        assert_eq!(html.finish(), format!("<td title=\"{escaped}\">{escaped}</td>"));
    }

    proptest! {
        #[test]
        fn no_text_opens_or_ends_anything(text in any::<String>()) {
            let mut html = Html::default();
            html.text(&text);
            let html = html.finish();
            prop_assert!(!html.contains(['<', '>', '"', '\'', '\n', '\0']), "{html:?}");
            let plain = html.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
            let plain = plain.replace("&quot;", "").replace("&#39;", "");
            prop_assert!(!plain.contains('&'), "{html:?}");
        }
    }
}
