//! Channels against real receivers: an HTTP server, with TLS and without, and a mail server.

use tidewire_proto::admin::v1::{TestChannelRequest, test_channel_request};
use tidewire_proto::alert::v1 as pb;
use tidewire_proto::task::v1 as task_pb;
use tidewire_testbed::authority::Authority;
use tidewire_testbed::servers::mail::{Encryption, MailServer, PASSWORD, USER};

use crate::group::Group;
use crate::receiver::Receiver;

pub(crate) fn value(text: &str) -> Option<task_pb::SecretRef> {
    Some(task_pb::SecretRef { place: Some(task_pb::secret_ref::Place::Value(text.to_owned())) })
}

pub(crate) fn webhook(url: &str, shape: pb::Shape, sign: Option<&str>) -> pb::Channel {
    pb::Channel {
        name: "ops".to_owned(),
        display_name: String::new(),
        way: Some(pb::channel::Way::Webhook(pb::Webhook {
            url: value(url),
            shape: shape.into(),
            sign: sign.and_then(value),
            ca: None,
        })),
    }
}

fn trusting(mut channel: pb::Channel, authority: &Authority) -> pb::Channel {
    match channel.way.as_mut() {
        Some(pb::channel::Way::Webhook(hook)) => hook.ca = value(&authority.pem()),
        Some(pb::channel::Way::Mail(mail)) => mail.ca = value(&authority.pem()),
        None => {}
    }
    channel
}

fn mail(server: &str, security: pb::MailSecurity, password: &str) -> pb::Channel {
    pb::Channel {
        name: "ops-mail".to_owned(),
        display_name: String::new(),
        way: Some(pb::channel::Way::Mail(pb::Mail {
            server: server.to_owned(),
            security: security.into(),
            user: USER.to_owned(),
            password: value(password),
            from: "Tidewire <tidewire@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned(), "Second <two@example.com>".to_owned()],
            ca: None,
        })),
    }
}

impl Group {
    /// What comes of trying a channel: nothing where it was delivered, else why not.
    async fn trial(&self, channel: pb::Channel) -> Option<String> {
        let subject = Some(test_channel_request::Subject::Channel(channel));
        let answer = self.client("c1").test_channel(TestChannelRequest { subject }).await;
        let push = answer.expect("an answer").into_inner().push.expect("a push");
        match push.result.as_str() {
            "delivered" => None,
            "failed" => Some(push.why),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_reaches_its_receiver_and_refusals_tell_no_secret() {
    let group = Group::start(1);
    group.settled(1).await;
    let receiver = Receiver::http().await;
    let url = |path: &str| format!("http://{}/{path}", receiver.address);
    let plain = |path: &str| webhook(&url(path), pb::Shape::Plain, Some("a-key"));

    assert_eq!(group.trial(plain("hook/secret-token")).await, None);
    let posted = receiver.last();
    assert_eq!(posted.uri.path(), "/hook/secret-token");
    assert_eq!(posted.header("content-type"), "application/json");
    assert!(posted.header("tidewire-signature").starts_with("sha256="), "{posted:?}");
    assert_eq!((&posted.json()["kind"], &posted.json()["version"]), (&"test".into(), &1.into()));

    let slack = webhook(&url("services/T0/B0/secret-token"), pb::Shape::Slack, None);
    receiver.answer(&[(403, "invalid_token secret-token")], "ok");
    let why = group.trial(slack.clone()).await.expect("refused");
    assert_eq!(why, format!("http://{} answered 403 invalid_token ***", receiver.address));
    assert_eq!(group.trial(slack).await, None);
    assert!(receiver.last().json()["text"].as_str().is_some_and(|it| it.contains("[TEST]")));

    let ding = url("robot/send?access_token=secret-token");
    let ding = webhook(&ding, pb::Shape::DingTalk, Some("this is secret"));
    receiver
        .answer(&[(200, r#"{"errcode":310000,"errmsg":"sign not match"}"#)], r#"{"errcode":0}"#);
    let why = group.trial(ding.clone()).await.expect("refused");
    assert!(why.ends_with("refused it: 310000 sign not match"), "{why}");
    assert_eq!(group.trial(ding).await, None);
    let query = receiver.last().uri.query().expect("a query").to_owned();
    assert!(query.starts_with("access_token=secret-token&timestamp="), "{query}");
    assert!(query.contains("&sign="), "{query}");

    receiver.answer(&[], r#"{"code":0,"msg":"success"}"#);
    let feishu = webhook(&url("hook/secret-token"), pb::Shape::Feishu, Some("demo"));
    assert_eq!(group.trial(feishu).await, None);
    assert!(receiver.last().json()["sign"].is_string());
    receiver.answer(&[], r#"{"errcode":0,"errmsg":"ok"}"#);
    let wecom = webhook(&url("webhook/send?key=secret-token"), pb::Shape::WeCom, None);
    assert_eq!(group.trial(wecom).await, None);

    let before = receiver.posted().len();
    receiver.answer(&[(302, "")], "");
    let why = group.trial(plain("hook/secret-token")).await.expect("refused");
    assert!(why.contains("answered 302, a redirect"), "{why}");
    assert_eq!(receiver.posted().len(), before + 1, "no redirect is followed");
    let closed = webhook("http://127.0.0.1:1/secret-token", pb::Shape::Plain, None);
    let why = group.trial(closed).await.expect("refused");
    assert!(why.starts_with("no connection to http://127.0.0.1:1: "), "{why}");
    let unknown = webhook("http://no-such-host.invalid/secret-token", pb::Shape::Plain, None);
    let why = group.trial(unknown).await.expect("refused");
    assert!(why.contains("http://no-such-host.invalid") && !why.contains("secret-token"), "{why}");
    let mut unset = plain("x");
    if let Some(pb::channel::Way::Webhook(hook)) = unset.way.as_mut() {
        let place = task_pb::secret_ref::Place::Env("TIDEWIRE_NOT_SET".to_owned());
        hook.url = Some(task_pb::SecretRef { place: Some(place) });
    }
    let why = group.trial(unset).await.expect("refused");
    assert!(why.contains("TIDEWIRE_NOT_SET: is not set on this coordinator"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_trusted_by_its_authority_alone() {
    let group = Group::start(1);
    group.settled(1).await;
    let authority = Authority::new("alerts").expect("an authority");
    let receiver = Receiver::https(&authority.server(&["127.0.0.1"]).expect("a server")).await;
    let url = format!("https://{}/hook", receiver.address);
    let channel = webhook(&url, pb::Shape::Plain, None);
    let why = group.trial(channel.clone()).await.expect("refused");
    assert!(why.contains("is not trusted"), "{why}");
    let other = Authority::new("alerts").expect("an authority");
    let why = group.trial(trusting(channel.clone(), &other)).await.expect("refused");
    assert!(why.contains("is not trusted"), "{why}");
    assert_eq!(group.trial(trusting(channel, &authority)).await, None);
    assert_eq!(receiver.posted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_arrive_with_every_encryption() {
    let group = Group::start(1);
    group.settled(1).await;
    let authority = Authority::new("alerts").expect("an authority");
    let identity = authority.server(&["127.0.0.1"]).expect("a server");
    for (encryption, security) in [
        (Encryption::None, pb::MailSecurity::None),
        (Encryption::StartTls(identity.clone()), pb::MailSecurity::StartTls),
        (Encryption::Tls(identity.clone()), pb::MailSecurity::Tls),
    ] {
        let start = move || MailServer::start(&encryption).expect("a mail server");
        let mut server = tokio::task::spawn_blocking(start).await.expect("no panic");
        let channel = |password: &str| mail(&server.address(), security, password);
        let why = group.trial(trusting(channel("wrong-word"), &authority)).await.expect("refused");
        assert!(why.contains("535"), "{security:?}: {why}");
        assert!(!why.contains("wrong-word"), "{why}");
        if security != pb::MailSecurity::None {
            let why = group.trial(channel(PASSWORD)).await.expect("refused");
            assert!(why.contains("certificate"), "{security:?}: {why}");
        } else {
            let open = mail(&server.address(), pb::MailSecurity::StartTls, PASSWORD);
            let why = group.trial(open).await.expect("a server that cannot encrypt gets nothing");
            assert!(why.contains("STARTTLS"), "{why}");
        }
        assert_eq!(group.trial(trusting(channel(PASSWORD), &authority)).await, None);
        let taken = server.taken().expect("mails");
        let to: Vec<&str> = taken.iter().map(|mail| mail.to.as_str()).collect();
        assert_eq!(to, ["ops@example.com", "two@example.com"], "{security:?}");
        assert_eq!(taken[0].from, "tidewire@example.com");
        assert!(taken[0].text.contains("Subject: [TEST] channel ops-mail of tidewire"));
    }
}
