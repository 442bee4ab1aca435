//! The error codes of the distribution specification, as one table.

/// An error code clients may act on, with the HTTP status it travels with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The blob is not known here.
    BlobUnknown,
    /// The digest is malformed or not supported.
    DigestInvalid,
    /// The manifest is malformed, or is not what its name promises.
    ManifestInvalid,
    /// The manifest is not known here.
    ManifestUnknown,
    /// The repository name is malformed.
    NameInvalid,
    /// The repository, or the registry it should live in, is not known here.
    NameUnknown,
    /// The request asks for more, or is larger, than allowed.
    SizeInvalid,
    /// Who asks must say who they are.
    Unauthorized,
    /// Who asks may not have this.
    Denied,
    /// This registry does not do that.
    Unsupported,
    /// Somebody's limit is reached; ask later.
    TooManyRequests,
    /// The requested range cannot be served (an extension used with status 416).
    RangeInvalid,
    /// The service cannot answer now (an extension used with 5xx statuses).
    Unavailable,
    /// Anything else (an extension other registries use too).
    Unknown,
}

impl Code {
    /// The upper-case word of the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The JSON body of an error: `{"errors":[{"code","message","detail"}]}`.
pub fn error_body(code: Code, message: &str, detail: Option<&str>) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        errors: [Item<'a>; 1],
    }
    #[derive(serde::Serialize)]
    struct Item<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
    }
    let body = Body {
        errors: [Item {
            code: code.name(),
            message,
            detail,
        }],
    };
    serde_json::to_vec(&body).expect("strings always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_shape_of_the_specification() {
        let plain = error_body(Code::NameUnknown, "no such name", None);
        let expected = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such name"}]}"#;
        assert_eq!(String::from_utf8(plain).unwrap(), expected);
        let detailed = error_body(Code::TooManyRequests, "slow down", Some("until noon"));
        let expected =
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down","detail":"until noon"}]}"#;
        assert_eq!(String::from_utf8(detailed).unwrap(), expected);
    }

    #[test]
    fn what_a_stranger_wrote_cannot_leave_its_string() {
        let message = "\"}],\"x\":\"\r\n\u{0}\\";
        let body = error_body(Code::NameInvalid, message, Some(message));
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["errors"][0]["message"], message);
        assert_eq!(read["errors"][0]["detail"], message);
        assert_eq!(read.as_object().unwrap().len(), 1);
        assert!(!body.contains(&b'\n'));
    }
}
