//! A registered channel: where the messages of alerts go.

use serde::{Deserialize, Serialize};

use crate::connection::hide;
use crate::id::ChannelName;
use crate::secret::SecretRef;

/// A channel that is registered under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// The name that alerts use.
    pub name: ChannelName,
    /// Free text.
    #[serde(default)]
    pub display_name: String,
    /// How messages get there.
    pub way: Way,
}

/// How messages get to a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// By a POST over HTTP.
    Webhook(Webhook),
    /// By SMTP.
    Mail(Mail),
}

/// A receiver of POSTs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where to; a secret, because most receivers know their callers by it alone.
    pub url: SecretRef,
    /// What is posted.
    pub shape: Shape,
    /// What messages are signed with, where the receiver wants that.
    pub sign: Option<SecretRef>,
    /// Authority that signed the receiver's certificate, PEM; none: the public ones.
    pub ca: Option<SecretRef>,
}

/// What is posted to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// JSON with fields of our own (docs/operations.md).
    Plain,
    /// As Slack's incoming webhooks take it.
    Slack,
    /// As `DingTalk`'s robots take it.
    DingTalk,
    /// As Feishu's bots take it.
    Feishu,
    /// As `WeCom`'s robots take it.
    WeCom,
}

impl Shape {
    /// The word of documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Slack => "slack",
            Self::DingTalk => "dingtalk",
            Self::Feishu => "feishu",
            Self::WeCom => "wecom",
        }
    }

    /// Whether its receiver checks signatures.
    #[must_use]
    pub fn signs(self) -> bool {
        matches!(self, Self::Plain | Self::DingTalk | Self::Feishu)
    }
}

/// Mailboxes, and the server that takes mail for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mail {
    /// `host:port` of the server.
    pub server: String,
    /// Encryption of the connection.
    pub security: MailSecurity,
    /// Our account there; empty: the server asks for none.
    pub user: String,
    /// Its password.
    pub password: Option<SecretRef>,
    /// The sender: `name@host` or `Name <name@host>`.
    pub from: String,
    /// The receivers, written the same way; not empty.
    pub to: Vec<String>,
    /// Authority that signed the server's certificate, PEM; none: the public ones.
    pub ca: Option<SecretRef>,
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// Encrypted before anything else is said; a server that cannot gets no mail.
    StartTls,
    /// Encrypted from the first byte.
    Tls,
    /// Not at all: mail and password go in the clear.
    None,
}

impl MailSecurity {
    /// The word of documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        }
    }
}

/// Scheme, host and port of an address of the web, without what may be secret; none: it is no such
/// address, or it holds a password.
#[must_use]
pub fn origin(url: &str) -> Option<&str> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    let rest = url.strip_prefix(scheme)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, _) = rest.split_at_checked(end)?;
    let plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '@' | '\\');
    let fits = !host.is_empty() && !host.starts_with(':') && host.chars().all(plain);
    let whole = !url.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    (fits && whole).then(|| url.split_at_checked(scheme.len() + end).map(|(origin, _)| origin))?
}

impl Channel {
    /// `webhook` or `mail`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.way {
            Way::Webhook(_) => "webhook",
            Way::Mail(_) => "mail",
        }
    }

    /// Where it leads, without anything secret: `https://hooks.slack.com`, `env HOOK`, `smtp:587`.
    #[must_use]
    pub fn leads_to(&self) -> String {
        match &self.way {
            Way::Webhook(hook) => match &hook.url {
                SecretRef::Value(url) => origin(url).unwrap_or_default().to_owned(),
                SecretRef::Env(name) => format!("env {name}"),
                SecretRef::File(path) => format!("file {path}"),
            },
            Way::Mail(mail) => mail.server.clone(),
        }
    }

    /// Every place of a secret, in an order that depends on the kind alone.
    pub fn secrets_mut(&mut self) -> [Option<&mut SecretRef>; 3] {
        match &mut self.way {
            Way::Webhook(hook) => [Some(&mut hook.url), hook.sign.as_mut(), hook.ca.as_mut()],
            Way::Mail(mail) => [mail.password.as_mut(), mail.ca.as_mut(), None],
        }
    }

    /// The channel as it may be shown: without secrets that stand in it.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.secrets_mut().into_iter().flatten().for_each(hide);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::HIDDEN;

    #[test]
    fn an_origin_holds_nothing_secret() {
        for (url, expected) in [
            ("https://hooks.slack.com/services/T0/B0/secret", Some("https://hooks.slack.com")),
            ("http://127.0.0.1:8080?key=secret", Some("http://127.0.0.1:8080")),
            ("https://[::1]:8443/x", Some("https://[::1]:8443")),
            ("https://host", Some("https://host")),
            ("https://user:secret@host/x", None),
            ("https:///x", None),
            ("https://:80/", None),
            ("ftp://host/", None),
            ("https://ho st/", None),
            ("https://host/a\nb", None),
            ("***", None),
            ("", None),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
    }

    #[test]
    fn an_address_of_the_web_is_shown_to_nobody() {
        let channel = Channel {
            name: "ops".parse().expect("a name"),
            display_name: String::new(),
            way: Way::Webhook(Webhook {
                url: SecretRef::Value("https://hooks.slack.com/services/secret".into()),
                shape: Shape::Slack,
                sign: Some(SecretRef::Value("secret".into())),
                ca: None,
            }),
        };
        assert_eq!(channel.leads_to(), "https://hooks.slack.com");
        assert!(!format!("{channel:?}").contains("secret"));
        let shown = serde_json::to_string(&channel.hidden()).expect("JSON");
        assert!(shown.contains(HIDDEN) && !shown.contains("secret"), "{shown}");
    }
}
