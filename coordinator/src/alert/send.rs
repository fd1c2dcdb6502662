//! One message to one channel: its secrets are read, then it goes out, within a bounded time.

use std::time::Duration;

use tidewire_secret::{Reader, resolve_by};
use tidewire_shared::channel::Way;
use tidewire_shared::{Channel, Secret, SecretRef};
use tokio::time::timeout;

use super::{Letter, mail, webhook};

/// Longest single attempt.
pub(super) const ATTEMPT: Duration = Duration::from_secs(15);
/// Characters of a reason that are kept.
const WHY_MAX: usize = 300;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Refused {
    /// The reason; holds no secret.
    pub(crate) why: String,
    /// Whether trying again can help.
    pub(crate) again: bool,
}

impl Refused {
    /// It would be refused again.
    pub(super) fn for_good(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false }
    }

    /// It may be taken later.
    pub(super) fn at_present(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: true }
    }

    /// The same without any of these secrets, and on one line.
    fn without(mut self, secrets: &Secrets) -> Self {
        for secret in secrets.told() {
            self.why = self.why.replace(secret, "***");
        }
        let line = |letter: char| if letter.is_control() { ' ' } else { letter };
        self.why = self.why.chars().map(line).take(WHY_MAX).collect();
        self
    }
}

/// Secrets of a channel, as they were found on this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets {
    /// Of a webhook.
    pub(super) url: Option<Secret>,
    pub(super) sign: Option<Secret>,
    /// Of a mail server.
    pub(super) password: Option<Secret>,
    pub(super) ca: Option<Secret>,
}

impl Secrets {
    fn read(channel: &Channel) -> Result<Self, Refused> {
        let find = |place: Option<&SecretRef>| {
            let found = place.map(|place| resolve_by(Reader::Coordinator, place)).transpose();
            // It may be there on the next leader, or after somebody put it there.
            found.map_err(|fault| Refused::at_present(format!("{fault}: {}", fault.remedy)))
        };
        Ok(match &channel.way {
            Way::Webhook(hook) => Self {
                url: find(Some(&hook.url))?,
                sign: find(hook.sign.as_ref())?,
                ca: find(hook.ca.as_ref())?,
                password: None,
            },
            Way::Mail(mail) => Self {
                password: find(mail.password.as_ref())?,
                ca: find(mail.ca.as_ref())?,
                url: None,
                sign: None,
            },
        })
    }

    /// Texts that no reason may hold: the whole of each secret, of an address what stands behind the host,
    /// and each part of that.
    fn told(&self) -> Vec<&str> {
        let url = self.url.as_ref().map_or("", |url| url.expose());
        let behind = tidewire_shared::channel::origin(url).and_then(|host| url.strip_prefix(host));
        let parts = behind.unwrap_or(url).split(['/', '?', '&', '=', '#']);
        let whole = [Some(url), behind, exposed(&self.sign), exposed(&self.password)];
        let mut told: Vec<&str> =
            whole.into_iter().flatten().chain(parts).filter(|text| text.len() >= 6).collect();
        // The longest first, so that no rest of it stays.
        told.sort_by_key(|text| std::cmp::Reverse(text.len()));
        told
    }
}

fn exposed(secret: &Option<Secret>) -> Option<&str> {
    secret.as_ref().map(Secret::expose)
}

/// Sends a message once.
///
/// # Errors
/// When the receiver did not take it, with the reason.
pub(crate) async fn try_channel(channel: &Channel, letter: &Letter) -> Result<(), Refused> {
    let (wanted, letter) = (channel.clone(), letter.clone());
    let read = tokio::task::spawn_blocking(move || Secrets::read(&wanted)).await;
    let secrets = read.map_err(|_| Refused::at_present("its secrets could not be read"))??;
    let sent = async {
        match &channel.way {
            Way::Webhook(hook) => webhook::post(hook.shape, &secrets, letter).await,
            Way::Mail(to) => mail::send(to, &secrets, &letter).await,
        }
    };
    let late = || Refused::at_present(format!("no answer within {} s", ATTEMPT.as_secs()));
    let result = timeout(ATTEMPT, sent).await.unwrap_or_else(|_| Err(late()));
    result.map_err(|refused| refused.without(&secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_holds_no_part_of_a_secret() {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let secrets = Secrets {
            url: secret("https://oapi.example.com/robot/send?access_token=abcdef123456"),
            sign: secret("SECxyz000"),
            ..Secrets::default()
        };
        let refused = |why: &str| Refused::at_present(why).without(&secrets).why;
        assert_eq!(refused("token abcdef123456 is not known"), "token *** is not known");
        assert_eq!(refused("POST /robot/send?access_token=abcdef123456: no"), "POST ***: no");
        assert_eq!(refused("bad sign SECxyz000\nhere"), "bad sign *** here");
        assert_eq!(
            refused("https://oapi.example.com answered 500"),
            "https://oapi.example.com answered 500"
        );
    }
}
