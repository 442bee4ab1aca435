//! Who is meant of all those whom an authority has certified.

use std::fmt;

use regex::Regex;

/// Somebody, as whom an issuer of identities has vouched for.
#[derive(Clone)]
pub struct Identity {
    issuer: String,
    subject: String,
    expression: Regex,
}

impl Identity {
    /// Those of this issuer whose subject the regular expression matches from its beginning to its end.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn new(issuer: String, subject: String) -> Result<Self, String> {
        let why = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().to_owned();
        // By itself first, so that it cannot reach out of the brackets.
        Regex::new(&subject).map_err(why)?;
        let expression = Regex::new(&format!("^(?:{subject})$")).map_err(why)?;
        Ok(Self {
            issuer,
            subject,
            expression,
        })
    }

    /// Who has vouched for them.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The expression, as it was written.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// True if it is they for whom this issuer has vouched as this subject.
    pub fn is(&self, issuer: &str, subject: &str) -> bool {
        self.issuer == issuer && self.expression.is_match(subject)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (&self.issuer, &self.subject) == (&other.issuer, &other.subject)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (issuer {})", self.subject, self.issuer)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.to_string()).finish()
    }
}
