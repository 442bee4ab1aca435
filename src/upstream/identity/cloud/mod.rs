//! Clouds: whatever vouches for the machine, the pod or the job that we are is turned into a credential for their
//! registries, by the variables that their own tools go by.

mod aws;
mod azure;
mod google;
mod variables;
mod web;

use std::time::Duration;

pub use self::variables::Variables;
pub(super) use self::web::Web;
use super::{Given, Site};
use crate::upstream::token::append;

/// A cloud that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Which one.
    pub provider: Provider,
    /// What its tools would find in their environment.
    pub variables: Variables,
    /// How long it may take, all its services together.
    pub timeout: Duration,
}

/// The clouds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon, for ECR.
    Aws,
    /// Azure, for ACR.
    Azure,
    /// Google, for Artifact Registry.
    Google,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aws, Self::Azure, Self::Google];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Google => "google",
        }
    }

    /// The variables it goes by.
    pub const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Aws => &aws::VARIABLES,
            Self::Azure => &azure::VARIABLES,
            Self::Google => &google::VARIABLES,
        }
    }
}

impl Cloud {
    /// What is wrong with the variables, for a registry at this host: nothing is asked.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn check(&self, host: &str) -> Result<(), String> {
        match self.provider {
            Provider::Aws => aws::check(&self.variables, host),
            Provider::Azure => azure::check(&self.variables),
            Provider::Google => google::check(&self.variables),
        }
    }

    pub(super) async fn ask(&self, web: &Web<'_>, site: &Site) -> Result<Given, String> {
        let asked = async {
            match self.provider {
                Provider::Aws => aws::ask(web, &self.variables, site.base.host()).await,
                Provider::Azure => azure::ask(web, &self.variables, site).await,
                Provider::Google => google::ask(web, &self.variables).await,
            }
        };
        tokio::time::timeout(self.timeout, asked)
            .await
            .unwrap_or_else(|_| Err(format!("it did not answer within {:?}", self.timeout)))
    }
}

/// A form, or a query, with what is not empty.
fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    append(&mut text, pairs.into_iter());
    text
}
