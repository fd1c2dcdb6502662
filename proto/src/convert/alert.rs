//! Alerts of a task, and the channels that they go to.

use tidewire_shared::alert::When;
use tidewire_shared::channel::{Channel, Mail, MailSecurity, Shape, Way, Webhook, origin};
use tidewire_shared::{AlertRule, ByteSize, Period, Phase, SecretRef};

use super::{
    ConvertError, each, enumerated, optional, parsed, required, same_variants, text, texts,
};
use crate::alert::v1 as pb;
use crate::task::v1 as task;

same_variants!(Shape, pb::Shape, [Plain, Slack, DingTalk, Feishu, WeCom]);
same_variants!(MailSecurity, pb::MailSecurity, [StartTls, Tls, None]);

/// The alerts of a task, which must make sense together.
pub(super) fn alerts(wire: Vec<task::AlertRule>) -> Result<Vec<AlertRule>, ConvertError> {
    let rules: Vec<AlertRule> = each("alerts", wire)?;
    match AlertRule::flaw(&rules) {
        Some(flaw) => Err(ConvertError::new("alerts", flaw)),
        None => Ok(rules),
    }
}

impl From<AlertRule> for task::AlertRule {
    fn from(rule: AlertRule) -> Self {
        let When { delay_above, phases, wal_above, lasting } = rule.when;
        Self {
            name: rule.name.into(),
            delay_above_ms: delay_above.map(|delay| delay.0),
            wal_above_bytes: wal_above.map(|size| size.0),
            phases: phases.iter().map(ToString::to_string).collect(),
            for_ms: lasting.0,
            to: rule.to.into_iter().map(Into::into).collect(),
            repeat_ms: rule.repeat.0,
        }
    }
}

impl TryFrom<task::AlertRule> for AlertRule {
    type Error = ConvertError;

    fn try_from(rule: task::AlertRule) -> Result<Self, Self::Error> {
        let phase = |(index, word): (usize, &String)| -> Result<Phase, ConvertError> {
            parsed(&format!("phases[{index}]"), word)
        };
        let to = rule.to.iter().enumerate();
        let to = to.map(|(index, name)| parsed(&format!("to[{index}]"), name));
        Ok(Self {
            name: parsed("name", &rule.name)?,
            when: When {
                delay_above: rule.delay_above_ms.map(Period),
                wal_above: rule.wal_above_bytes.map(ByteSize),
                phases: rule.phases.iter().enumerate().map(phase).collect::<Result<_, _>>()?,
                lasting: Period(rule.for_ms),
            },
            to: to.collect::<Result<_, _>>()?,
            repeat: Period(rule.repeat_ms),
        })
    }
}

impl From<Channel> for pb::Channel {
    fn from(channel: Channel) -> Self {
        Self {
            name: channel.name.into(),
            display_name: channel.display_name,
            way: Some(match channel.way {
                Way::Webhook(hook) => pb::channel::Way::Webhook(hook.into()),
                Way::Mail(mail) => pb::channel::Way::Mail(mail.into()),
            }),
        }
    }
}

impl TryFrom<pb::Channel> for Channel {
    type Error = ConvertError;

    fn try_from(channel: pb::Channel) -> Result<Self, Self::Error> {
        let way = match channel.way {
            Some(pb::channel::Way::Webhook(hook)) => Way::Webhook(required("webhook", Some(hook))?),
            Some(pb::channel::Way::Mail(mail)) => Way::Mail(required("mail", Some(mail))?),
            None => return Err(ConvertError::new("way", "is missing")),
        };
        Ok(Self { name: parsed("name", &channel.name)?, display_name: channel.display_name, way })
    }
}

impl From<Webhook> for pb::Webhook {
    fn from(hook: Webhook) -> Self {
        Self {
            url: Some(hook.url.into()),
            shape: pb::Shape::from(hook.shape).into(),
            sign: hook.sign.map(Into::into),
            ca: hook.ca.map(Into::into),
        }
    }
}

impl TryFrom<pb::Webhook> for Webhook {
    type Error = ConvertError;

    fn try_from(hook: pb::Webhook) -> Result<Self, Self::Error> {
        let url = required("url", hook.url)?;
        if let SecretRef::Value(url) = &url
            && url != tidewire_shared::connection::HIDDEN
            && origin(url).is_none()
        {
            return Err(ConvertError::new("url", "is no address like https://host/path"));
        }
        let shape: Shape = enumerated::<pb::Shape, _>("shape", hook.shape)?;
        if hook.sign.is_some() && !shape.signs() {
            let problem = format!("has no use: {} checks no signature", shape.as_str());
            return Err(ConvertError::new("sign", problem));
        }
        Ok(Self { url, shape, sign: optional("sign", hook.sign)?, ca: optional("ca", hook.ca)? })
    }
}

impl From<Mail> for pb::Mail {
    fn from(mail: Mail) -> Self {
        Self {
            server: mail.server,
            security: pb::MailSecurity::from(mail.security).into(),
            user: mail.user,
            password: mail.password.map(Into::into),
            from: mail.from,
            to: mail.to,
            ca: mail.ca.map(Into::into),
        }
    }
}

impl TryFrom<pb::Mail> for Mail {
    type Error = ConvertError;

    fn try_from(mail: pb::Mail) -> Result<Self, Self::Error> {
        if mail.user.is_empty() != mail.password.is_none() {
            return Err(ConvertError::new("password", "user and password belong together"));
        }
        Ok(Self {
            server: text("server", mail.server)?,
            security: enumerated::<pb::MailSecurity, _>("security", mail.security)?,
            user: mail.user,
            password: optional("password", mail.password)?,
            from: text("from", mail.from)?,
            to: texts("to", mail.to)?,
            ca: optional("ca", mail.ca)?,
        })
    }
}
