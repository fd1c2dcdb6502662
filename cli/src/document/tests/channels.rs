//! Channel documents.

use tidewire_shared::SecretRef;
use tidewire_shared::channel::{MailSecurity, Shape, Way};

use super::super::channel::{ChannelDocument, ExplainedChannel};
use super::super::{ConnectionDocument, Document};

const HOOK: &str = "\
apiVersion: tidewire/v1
kind: webhook_channel
name: ops
url: https://hooks.example.com/services/hunter2
";

const MAIL: &str = "\
apiVersion: tidewire/v1
kind: mail_channel
name: ops-mail
server: smtp.example.com:587
user: tidewire
password: {env: SMTP_PASSWORD}
from: Tidewire <tidewire@example.com>
to: [ops@example.com]
";

fn refusal(text: &str) -> String {
    ChannelDocument::parse(text).expect_err("refused").to_string()
}

#[test]
fn channels_get_their_defaults_and_warnings() {
    let document = ChannelDocument::parse(HOOK).expect("it parses");
    let Way::Webhook(hook) = document.channel.way else { panic!("no webhook") };
    assert_eq!((hook.shape, hook.sign), (Shape::Plain, None));
    assert_eq!(document.warnings.len(), 1, "the address stands in the document");
    assert!(!document.warnings[0].contains("hunter2"), "{:?}", document.warnings);
    let open =
        HOOK.replace("https://hooks.example.com/services/hunter2", "http://10.0.0.1:80/hunter2");
    let warnings = ChannelDocument::parse(&open).expect("it parses").warnings;
    assert_eq!(warnings[1], "url: http://10.0.0.1:80 is not encrypted");
    let kept = HOOK.replace("https://hooks.example.com/services/hunter2", "{env: HOOK}");
    let document = ChannelDocument::parse(&kept).expect("it parses");
    assert_eq!((document.channel.leads_to().as_str(), document.warnings.len()), ("env HOOK", 0));

    let document = ChannelDocument::parse(MAIL).expect("it parses");
    let Way::Mail(mail) = document.channel.way else { panic!("no mail") };
    assert_eq!(mail.security, MailSecurity::StartTls);
    assert_eq!(mail.password, Some(SecretRef::Env("SMTP_PASSWORD".into())));
    assert_eq!(document.warnings, [] as [String; 0]);
    let open = ChannelDocument::parse(&format!("{MAIL}security: none\n")).expect("it parses");
    let said = "security: none: messages and the password go to smtp.example.com:587 in the clear";
    assert_eq!(open.warnings, [said]);
}

#[test]
fn channels_read_back_as_they_were_written() {
    let slack = HOOK.replace("hunter2\n", "hunter2\nshape: slack\nca: /etc/ca.pem\n");
    let ding = format!("{HOOK}shape: dingtalk\nsign: {{file: /run/sign}}\ndisplayName: Ops\n");
    let mail = format!("{MAIL}security: tls\nca: {{file: /etc/ca.pem}}\n");
    for text in [HOOK, MAIL, &slack, &ding, &mail] {
        let channel = ChannelDocument::parse(text).expect("it parses").channel;
        let yaml = serde_saphyr::to_string(&ExplainedChannel::new(&channel)).expect("it writes");
        let read = ChannelDocument::parse(&yaml).map(|document| document.channel);
        assert_eq!(read, Ok(channel), "{yaml}");
    }
}

#[test]
fn what_a_channel_document_means_wrongly_is_said() {
    for (text, old, new, said) in [
        (
            HOOK,
            "https://hooks.example.com",
            "ftp://hooks",
            "4:6: url: is no address; write it as https://host/path",
        ),
        (HOOK, "url:", "uri:", "4:1: uri: unknown key; did you mean `url`?"),
        (
            HOOK,
            "hunter2\n",
            "hunter2\nshape: teams\n",
            "5:8: shape: `teams` has no meaning here; known here: plain, slack, dingtalk, feishu, wecom",
        ),
        (
            HOOK,
            "hunter2\n",
            "hunter2\nshape: wecom\nsign: {env: A}\n",
            "6:7: sign: has no use: wecom checks no signature; leave it out, or write another `shape`",
        ),
        (
            HOOK,
            "webhook_channel",
            "postgres_connection",
            "2:7: kind: is a connection, not a channel; use `tidewire connection apply`",
        ),
        (MAIL, ":587", "", "4:9: server: is not HOST:PORT; write it as smtp.example.com:587"),
        (
            MAIL,
            "password: {env: SMTP_PASSWORD}\n",
            "",
            "5:7: user: has no password; add `password`",
        ),
        (MAIL, "user: tidewire\n", "", "5:11: password: has no user; add `user`"),
        (
            MAIL,
            "[ops@example.com]",
            "[ops]",
            "8:6: to[0]: is no mailbox; write it as ops@example.com or Name <ops@example.com>",
        ),
        (
            MAIL,
            "from:",
            "security: none\nca: /x\nfrom:",
            "8:5: ca: has no use: security none encrypts nothing; leave it out, or write another `security`",
        ),
    ] {
        assert_eq!(refusal(&text.replace(old, new)), said);
    }
    let said = "2:7: kind: is a channel, not a task; use `tidewire alert apply`";
    assert_eq!(Document::parse(HOOK).expect_err("refused").to_string(), said);
    let said = "2:7: kind: is a channel, not a connection; use `tidewire alert apply`";
    assert_eq!(ConnectionDocument::parse(MAIL).expect_err("refused").to_string(), said);
}
