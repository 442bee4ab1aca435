//! What an issuer says of somebody, and what a client's rule wants it to say.

use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Values that one claim may have, at most: groups, roles.
const MAX_VALUES: usize = 256;

/// The claims of a token that matter here, each with its values as text. A claim that a token has not is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims(Vec<(String, Vec<String>)>);

impl Claims {
    /// Takes the claims of these names out of a token.
    pub(super) fn of(all: &Map<String, Value>, names: &[String]) -> Self {
        let found = names.iter().filter_map(|name| {
            let values = texts(find(all, name)?);
            Some((name.clone(), values))
        });
        Self(found.collect())
    }

    /// Claims as they were told by somebody who is believed: names, each with a value. A name that comes again has
    /// several values.
    pub fn told(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut told: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in pairs {
            match told.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => told.push((name, vec![value])),
            }
        }
        Self(told)
    }

    fn values(&self, name: &str) -> &[String] {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or(&[], |(_, values)| values.as_slice())
    }
}

/// The value of a claim: that of the whole name, or of a path through tables whose parts stand between slashes
/// (`kubernetes.io/serviceaccount/name`).
fn find<'a>(all: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = all.get(name) {
        return Some(value);
    }
    name.match_indices('/').find_map(|(at, _)| {
        let inner = all.get(&name[..at])?.as_object()?;
        find(inner, &name[at + 1..])
    })
}

/// A value as texts: one, or those of a list. What is neither text, number nor boolean is no value.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Array(list) => list.iter().filter_map(text).take(MAX_VALUES).collect(),
        one => text(one).into_iter().collect(),
    }
}

/// What a claim has to say.
#[derive(Clone)]
pub struct Claim {
    /// Its name.
    pub name: String,
    written: String,
    expression: Regex,
}

impl Claim {
    /// A claim whose value, or one of whose values, the regular expression has to match from its beginning to its end.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn new(name: &str, expression: &str) -> Result<Self, String> {
        let why = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().to_owned();
        // By itself first, so that it cannot reach out of the brackets.
        Regex::new(expression).map_err(why)?;
        Ok(Self {
            name: name.to_owned(),
            written: expression.to_owned(),
            expression: Regex::new(&format!("^(?:{expression})$")).map_err(why)?,
        })
    }

    /// True if that is what is said.
    pub fn holds(&self, claims: &Claims) -> bool {
        self.met_by(claims).is_some()
    }

    /// The value, or the one of the values, that is what it has to be.
    pub fn met_by<'a>(&self, claims: &'a Claims) -> Option<&'a str> {
        let mut values = claims.values(&self.name).iter();
        values
            .find(|value| self.expression.is_match(value))
            .map(String::as_str)
    }

    /// The expression, as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.written) == (&other.name, &other.written)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.name, self.written)
    }
}
