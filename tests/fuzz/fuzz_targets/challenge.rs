//! `WWW-Authenticate` headers: whatever a registry sends, what is read of it stands in it and is bounded; it is the same
//! in whatever way it could have been written; and of what is read, Bearer is chosen before Basic, and the first that
//! names a realm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::upstream::challenge::{self, Challenge, Demand};

/// Most challenges and parameters of one header.
const MOST: usize = 32;

/// Ways to write the same: between challenges and parameters, around `=`, whether in capitals, and which values stand
/// within quotes and what is escaped there.
struct Style {
    between: &'static str,
    around: &'static str,
    capitals: bool,
    bare: bool,
    escape: fn(char) -> bool,
}

const STYLES: [Style; 3] = [
    Style {
        between: ", ",
        around: "",
        capitals: false,
        bare: false,
        escape: |c| matches!(c, '"' | '\\'),
    },
    Style {
        between: " ,\t, ",
        around: "\t",
        capitals: true,
        bare: false,
        escape: |_| true,
    },
    Style {
        between: ",",
        around: "",
        capitals: false,
        bare: true,
        escape: |c| matches!(c, '"' | '\\'),
    },
];

fn written(challenges: &[Challenge], style: &Style) -> String {
    let word = |word: &str| match style.capitals {
        true => word.to_ascii_uppercase(),
        false => word.to_owned(),
    };
    let value = |value: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ":/.-".contains(c);
        if style.bare && !value.is_empty() && value.chars().all(is_plain) {
            return value.to_owned();
        }
        let mut quoted = String::from("\"");
        for c in value.chars() {
            if (style.escape)(c) {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted + "\""
    };
    let each = challenges.iter().map(|challenge| {
        let parameters = challenge.parameters.iter();
        let parameters: Vec<String> = parameters
            .map(|(key, said)| {
                format!(
                    "{}{around}={around}{}",
                    word(key),
                    value(said),
                    around = style.around
                )
            })
            .collect();
        format!("{} {}", word(&challenge.scheme), parameters.join(style.between))
    });
    each.collect::<Vec<_>>().join(style.between)
}

/// True if these characters come in the text, in this order.
fn comes_in(characters: &str, text: &str) -> bool {
    let mut text = text.chars();
    characters.chars().all(|wanted| text.any(|c| c == wanted))
}

fn is_word(text: &str) -> bool {
    let fits =
        |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !"\"(),/:;<=>?@[\\]{}".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

/// What is to be demanded of these.
fn demanded(challenges: &[Challenge]) -> Option<Demand> {
    let first = |challenge: &Challenge, wanted: &str| {
        let mut parameters = challenge.parameters.iter();
        let found = parameters.find(|(key, _)| key == wanted);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    for challenge in challenges.iter().filter(|challenge| challenge.scheme == "bearer") {
        let realm = first(challenge, "realm");
        if !realm.is_empty() {
            return Some(Demand::Bearer {
                realm,
                service: first(challenge, "service"),
                scope: first(challenge, "scope"),
            });
        }
    }
    let has_basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
    has_basic.then_some(Demand::Basic)
}

fuzz_target!(|header: &str| {
    let challenges = challenge::parse(header);
    let (mut parts, mut kept) = (0, String::new());
    for Challenge { scheme, parameters } in &challenges {
        assert!(is_word(scheme), "{scheme:?}");
        kept += scheme;
        for (key, value) in parameters {
            assert!(is_word(key), "{key:?}");
            assert!(
                header.contains('\\') || header.contains(value.as_str()),
                "{value:?}"
            );
            kept += key;
            // Words are told in small letters, values as they stand.
            assert!(comes_in(value, header), "{value:?}");
            kept += &value.to_ascii_lowercase();
        }
        parts += 1 + parameters.len();
    }
    assert!(parts <= MOST && kept.len() <= header.len());
    assert!(comes_in(&kept, &header.to_ascii_lowercase()), "{kept:?}");
    for style in &STYLES {
        let written = written(&challenges, style);
        assert_eq!(challenge::parse(&written), challenges, "{written:?}");
    }
    assert_eq!(challenge::choose([header]), demanded(&challenges));
    // One field or several: it is the same.
    let fields: Vec<String> = challenges
        .iter()
        .map(|challenge| written(std::slice::from_ref(challenge), &STYLES[0]))
        .collect();
    let chosen = challenge::choose(fields.iter().map(String::as_str));
    assert_eq!(chosen, demanded(&challenges));
});
