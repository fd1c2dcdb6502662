//! Channel documents: `kind: webhook_channel` and `kind: mail_channel`.

use serde::Serialize;
use tidewire_shared::SecretRef;
use tidewire_shared::channel::{Channel, Mail, MailSecurity, Shape, Way, Webhook, origin};
use tidewire_shared::connection::HIDDEN;

use super::explain::Place as Secret;
use super::place::{Keys, Place, Walk};
use super::secret::{pem, secret};
use super::{DocumentError, node};

/// A channel that can be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelDocument {
    /// The channel it describes.
    pub channel: Channel,
    /// What its author should know, as whole lines.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Mail,
}

const KINDS: [(&str, Kind); 2] = [("webhook_channel", Kind::Webhook), ("mail_channel", Kind::Mail)];

const WEBHOOK_KEYS: &[&str] =
    &["apiVersion", "kind", "name", "displayName", "url", "shape", "sign", "ca"];

const MAIL_KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "displayName",
    "server",
    "security",
    "user",
    "password",
    "from",
    "to",
    "ca",
];

const SHAPES: [(&str, Shape); 5] = [
    ("plain", Shape::Plain),
    ("slack", Shape::Slack),
    ("dingtalk", Shape::DingTalk),
    ("feishu", Shape::Feishu),
    ("wecom", Shape::WeCom),
];

const SECURITIES: [(&str, MailSecurity); 3] = [
    ("starttls", MailSecurity::StartTls),
    ("tls", MailSecurity::Tls),
    ("none", MailSecurity::None),
];

impl ChannelDocument {
    /// Reads a YAML or JSON text.
    ///
    /// # Errors
    /// The first thing that does not fit, with its line, column and path.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let node = node::read(text)?;
        let mut warnings = Vec::new();
        let channel = channel(&Place::top(&node), &mut warnings)?;
        Ok(Self { channel, warnings })
    }
}

fn channel(top: &Place<'_>, warnings: &mut Vec<String>) -> Walk<Channel> {
    let heading = top.heading()?;
    heading.need("apiVersion")?.word(&[("tidewire/v1", ())])?;
    let kind = heading.need("kind")?;
    match kind.as_text() {
        Some("postgres_to_kafka" | "kafka_to_kafka") => {
            return kind.wrong("is a task, not a channel", "use `tidewire task apply`");
        }
        Some("postgres_connection" | "kafka_connection") => {
            let remedy = "use `tidewire connection apply`";
            return kind.wrong("is a connection, not a channel", remedy);
        }
        _ => {}
    }
    let (keys, way) = match kind.word(&KINDS)? {
        Kind::Webhook => {
            let keys = top.keys(WEBHOOK_KEYS)?;
            let hook = webhook(&keys, warnings)?;
            (keys, Way::Webhook(hook))
        }
        Kind::Mail => {
            let keys = top.keys(MAIL_KEYS)?;
            let mail = mail(&keys, warnings)?;
            (keys, Way::Mail(mail))
        }
    };
    Ok(Channel {
        name: keys.need("name")?.parsed()?,
        display_name: keys.get_or("displayName", "", Place::text)?.to_owned(),
        way,
    })
}

fn webhook(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Walk<Webhook> {
    let shape = keys.get_or("shape", Shape::Plain, |at| at.word(&SHAPES))?;
    let sign = keys.get("sign").map(|at| secret(&at, warnings)).transpose()?;
    if let (Some(at), false) = (keys.get("sign"), shape.signs()) {
        return at.wrong(
            format_args!("has no use: {} checks no signature", shape.as_str()),
            "leave it out, or write another `shape`",
        );
    }
    Ok(Webhook {
        url: url(&keys.need("url")?, warnings)?,
        shape,
        sign,
        ca: keys.get("ca").map(|at| pem(&at)).transpose()?,
    })
}

/// An address is a secret, but one that people write as a text.
fn url(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<SecretRef> {
    let url = match place.as_text() {
        Some(_) => {
            warnings.push(format!(
                "{}: the address is a secret, and stands in the document and in the coordinators' log; \
                 use {{env: NAME}} or {{file: PATH}}",
                place.path()
            ));
            SecretRef::Value(place.filled_text()?.to_owned())
        }
        None => secret(place, warnings)?,
    };
    if let SecretRef::Value(text) = &url
        && text != HIDDEN
    {
        let Some(host) = origin(text) else {
            // The address is not repeated: it may be right but for a letter.
            return place.wrong("is no address", "write it as https://host/path");
        };
        if host.starts_with("http://") {
            warnings.push(format!("{}: {host} is not encrypted", place.path()));
        }
    }
    Ok(url)
}

fn mail(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Walk<Mail> {
    let place = keys.need("server")?;
    let server = place.filled_text()?;
    let parts = server
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if parts.is_none() {
        return place.wrong("is not HOST:PORT", "write it as smtp.example.com:587");
    }
    let security = keys.get_or("security", MailSecurity::StartTls, |at| at.word(&SECURITIES))?;
    let user = keys.get_or("user", "", Place::filled_text)?;
    let password = keys.get("password").map(|at| secret(&at, warnings)).transpose()?;
    match (keys.get("user"), keys.get("password")) {
        (Some(at), None) => return at.wrong("has no password", "add `password`"),
        (None, Some(at)) => return at.wrong("has no user", "add `user`"),
        _ => {}
    }
    let ca = keys.get("ca").map(|at| pem(&at)).transpose()?;
    if security == MailSecurity::None {
        if let Some(at) = keys.get("ca") {
            let remedy = "leave it out, or write another `security`";
            return at.wrong("has no use: security none encrypts nothing", remedy);
        }
        let what = if user.is_empty() { "messages go" } else { "messages and the password go" };
        warnings.push(format!("security: none: {what} to {server} in the clear"));
    }
    let mut to = Vec::new();
    for at in keys.need("to")?.filled_list()? {
        to.push(mailbox(&at)?);
    }
    Ok(Mail {
        server: server.to_owned(),
        security,
        user: user.to_owned(),
        password,
        from: mailbox(&keys.need("from")?)?,
        to,
        ca,
    })
}

/// `name@host` or `Name <name@host>`; the library that sends it knows the finer rules.
fn mailbox(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    let fits = address
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if !fits || address.chars().any(char::is_whitespace) {
        return place
            .wrong("is no mailbox", "write it as ops@example.com or Name <ops@example.com>");
    }
    Ok(text.to_owned())
}

/// A document that says everything and reads back as the same channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedChannel<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    display_name: &'a str,
    #[serde(flatten)]
    way: Explained<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Explained<'a> {
    Webhook(ExplainedWebhook<'a>),
    Mail(ExplainedMail<'a>),
}

#[derive(Debug, Serialize)]
struct ExplainedWebhook<'a> {
    url: Secret<'a>,
    shape: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign: Option<Secret<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<Secret<'a>>,
}

#[derive(Debug, Serialize)]
struct ExplainedMail<'a> {
    server: &'a str,
    security: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Secret<'a>>,
    from: &'a str,
    to: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<Secret<'a>>,
}

impl<'a> ExplainedChannel<'a> {
    /// Everything that `channel` says.
    #[must_use]
    pub fn new(channel: &'a Channel) -> Self {
        let (kind, way) = match &channel.way {
            Way::Webhook(hook) => (
                "webhook_channel",
                Explained::Webhook(ExplainedWebhook {
                    url: Secret(&hook.url),
                    shape: hook.shape.as_str(),
                    sign: hook.sign.as_ref().map(Secret),
                    ca: hook.ca.as_ref().map(Secret),
                }),
            ),
            Way::Mail(mail) => (
                "mail_channel",
                Explained::Mail(ExplainedMail {
                    server: &mail.server,
                    security: mail.security.as_str(),
                    user: &mail.user,
                    password: mail.password.as_ref().map(Secret),
                    from: &mail.from,
                    to: &mail.to,
                    ca: mail.ca.as_ref().map(Secret),
                }),
            ),
        };
        Self {
            api_version: "tidewire/v1",
            kind,
            name: channel.name.as_str(),
            display_name: &channel.display_name,
            way,
        }
    }
}
