//! Tokens of other issuers, where a request or a password has one.
//!
//! A verified one is believed for some minutes under a keyed hash, never beyond its end, and only as long as its issuer
//! is configured as it was. One that is wrong counts against the address it comes from, as a wrong password does; one
//! that is merely over does not: it was good, and whoever has it asks for another.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Login, Logins, RETRY, TAKEN, Tag, Trust, by_address, lock};
use crate::clock::Time;
use crate::policy::access::Access;
use crate::policy::issuers::{Bearer, Issuer, Refused, Token};
use crate::server::issuers::Issuers;

/// A token that was good: until when it is believed, by which issuer, and whom it is from.
pub(super) type Vouched = (Time, Issuer, Arc<Bearer>);

impl Logins {
    /// Who a token is from; `None` if it is none of a configured issuer.
    ///
    /// Cancel-safe: keys that were being fetched are fetched by whoever needs them next.
    pub(super) async fn foreign(&self, trust: Trust<'_>, address: IpAddr, text: &str) -> Option<Login> {
        if trust.access.issuers.is_empty() {
            return None;
        }
        // No password and no name has a control character: no tag of theirs is this one.
        let tag = self.tag_of(&format!("\0{text}"));
        if let Some(bearer) = self.vouched(trust.access, &tag) {
            return Some(Login::Bearer(bearer));
        }
        let token = Token::parse(text)?;
        let issuer = trust.access.issuer_of(&token)?;
        if let Some(refused) = self.refused(&tag, self.clock.now()) {
            return Some(refused);
        }
        let address = by_address(address.to_canonical());
        if let Some(wait) = self.wait(address) {
            return Some(Login::Later(wait));
        }
        Some(
            match Box::pin(self.examine(trust.issuers, issuer, &token)).await {
                Ok(bearer) => {
                    let bearer = Arc::new(bearer);
                    let until = bearer.until.min(self.clock.now() + TAKEN);
                    lock(&self.vouched).put(tag, (until, issuer.clone(), bearer.clone()));
                    Login::Bearer(bearer)
                }
                Err(Refused::NoKeys) => Login::Later(RETRY),
                Err(why) => {
                    tracing::info!(issuer = issuer.name, %why, "a token was refused");
                    let refused = Login::Refused(why);
                    match why {
                        Refused::Expired => self.refuse(tag, &refused),
                        _ => self.fail(tag, address, &refused),
                    }
                    refused
                }
            },
        )
    }

    /// Judges a token, and verifies it with the keys of its issuer.
    async fn examine(
        &self,
        issuers: &Issuers,
        issuer: &Issuer,
        token: &Token<'_>,
    ) -> Result<Bearer, Refused> {
        let until = issuer.judge(token, self.clock.now())?;
        let keys = issuers.keys(&issuer.name).await.ok_or(Refused::NoKeys)?;
        match keys.verify(token) {
            // It may be newer than what is held.
            Err(Refused::Key) => {
                let newer = issuers.look_again(&issuer.name, &keys).await;
                newer.ok_or(Refused::Key)?.verify(token)?;
            }
            verified => verified?,
        }
        Ok(issuer.bearer(token, until))
    }

    /// Whom a token is from that was good, as long as that may be believed.
    fn vouched(&self, access: &Access, tag: &Tag) -> Option<Arc<Bearer>> {
        let now = self.clock.now();
        let mut vouched = lock(&self.vouched);
        let (until, issuer, bearer) = vouched.get(tag)?;
        (now < *until && access.issuers.contains(issuer)).then(|| bearer.clone())
    }
}
