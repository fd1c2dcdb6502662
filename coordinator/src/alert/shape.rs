//! What each receiver wants to be posted, and how it says that it took it.

use serde_json::{Value, json};
use tidewire_shared::channel::Shape;

use super::send::Refused;
use super::{Letter, sign};

/// Bytes of a text that `WeCom` takes are 2,048; the others take more.
const TEXT_MAX: usize = 2_000;

/// What is posted.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// A message in the shape of its receiver, signed at this time where there is a secret to sign with.
pub(super) fn post(
    shape: Shape,
    url: &str,
    sign: Option<&str>,
    letter: &Letter,
    at_ms: i64,
) -> Post {
    let mut post = Post { url: url.to_owned(), headers: Vec::new(), body: String::new() };
    let text = clipped(&letter.text);
    let body = match shape {
        Shape::Plain => letter.fields.clone(),
        Shape::Slack => json!({ "text": for_slack(text) }),
        Shape::DingTalk | Shape::WeCom => {
            json!({ "msgtype": "text", "text": { "content": text } })
        }
        Shape::Feishu => feishu(text, sign, at_ms),
    };
    post.body = body.to_string();
    match (shape, sign) {
        (Shape::Plain, Some(secret)) => {
            let signature = sign::plain(at_ms, secret, &post.body);
            post.headers.push(("tidewire-timestamp", at_ms.to_string()));
            post.headers.push(("tidewire-signature", format!("sha256={signature}")));
        }
        (Shape::DingTalk, Some(secret)) => {
            let and = if url.contains('?') { '&' } else { '?' };
            let signature = in_query(&sign::dingtalk(at_ms, secret));
            post.url = format!("{url}{and}timestamp={at_ms}&sign={signature}");
        }
        _ => {}
    }
    post
}

/// Text of which no part is a command to the receiver.
fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn feishu(text: &str, sign: Option<&str>, at_ms: i64) -> Value {
    // A tag in a text would call for people.
    let text = text.replace('<', "‹").replace('>', "›");
    let mut body = json!({ "msg_type": "text", "content": { "text": text } });
    if let (Some(secret), Some(fields)) = (sign, body.as_object_mut()) {
        let at_s = at_ms / 1_000;
        fields.insert("timestamp".to_owned(), at_s.to_string().into());
        fields.insert("sign".to_owned(), sign::feishu(at_s, secret).into());
    }
    body
}

/// Base64 in the query of an address.
fn in_query(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// The most of a text that every receiver takes.
fn clipped(text: &str) -> &str {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.split_at_checked(end).map_or("", |(start, _)| start)
}

/// Whether the receiver took what was posted, by its answer.
///
/// # Errors
/// When it did not, with its own word for it where it has one.
pub(super) fn judge(shape: Shape, status: u16, body: &str) -> Result<(), Refused> {
    let said = |why: String| match status {
        408 | 425 | 429 | 500.. => Err(Refused::at_present(why)),
        _ => Err(Refused::for_good(why)),
    };
    match (status, shape) {
        (300..=399, _) => {
            said(format!("answered {status}, a redirect: write the address that it leads to"))
        }
        // What a receiver of anybody's says is not known to be harmless.
        (200..=299, Shape::Plain | Shape::Slack) => Ok(()),
        (_, Shape::Plain) => said(format!("answered {status}")),
        // Slack's words are short ones of its own: `invalid_token`, `no_service`.
        (_, Shape::Slack) => said(format!("answered {status} {body}")),
        (200..=299, Shape::DingTalk | Shape::Feishu | Shape::WeCom) => verdict(shape, body),
        (_, Shape::DingTalk | Shape::Feishu | Shape::WeCom) => {
            said(format!("answered {status} {body}"))
        }
    }
}

/// The receiver's own verdict, which comes with 200 in any case.
fn verdict(shape: Shape, body: &str) -> Result<(), Refused> {
    let answer: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let field = |names: &[&str]| names.iter().find_map(|name| answer.get(name));
    let code = field(&["errcode", "code", "StatusCode"]).and_then(Value::as_i64);
    let words = field(&["errmsg", "msg", "StatusMessage"]).and_then(Value::as_str);
    let Some(code) = code else {
        return Err(Refused::for_good(format!("its answer is not that of {}", shape.as_str())));
    };
    let why = format!("refused it: {code} {}", words.unwrap_or_default());
    match code {
        0 => Ok(()),
        // Busy, or too many messages in a minute.
        -1 | 9_499 | 11_232 | 45_009 | 45_033 | 130_101 | 410_100 | 660_026 => {
            Err(Refused::at_present(why))
        }
        _ => Err(Refused::for_good(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    const AT_MS: i64 = 1_577_262_236_757;

    fn posted(shape: Shape, sign: Option<&str>) -> (Post, Value) {
        let post = post(shape, "https://host/robot/send?access_token=t", sign, &letter(), AT_MS);
        let body = serde_json::from_str(&post.body).expect("JSON");
        (post, body)
    }

    #[test]
    fn slack_gets_a_text_in_which_nothing_is_a_command() {
        let (post, body) = posted(Shape::Slack, None);
        assert_eq!(post.url, "https://host/robot/send?access_token=t");
        let text = body["text"].as_str().expect("a text");
        assert!(text.starts_with("[FIRED] task orders: late (delay above 30s for 1m)\n"), "{text}");
        assert!(text.contains("it is lost &lt;at all&gt;") && text.contains("drop it &amp; start"));
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1));
    }

    #[test]
    fn dingtalk_gets_its_signature_in_the_address() {
        let (post, body) = posted(Shape::DingTalk, Some("this is secret"));
        let signed = "https://host/robot/send?access_token=t&timestamp=1577262236757\
                      &sign=hmPWwU%2B7lVdm3ZZz0r9tSfx0L4Q26jWOZr9%2BGs6EZQM%3D";
        assert_eq!(post.url, signed);
        assert_eq!(body["msgtype"], "text");
        assert_eq!(body["text"]["content"], letter().text);
        assert!(!posted(Shape::DingTalk, None).0.url.contains("sign"));
    }

    #[test]
    fn feishu_gets_its_signature_in_the_body() {
        let (_, body) = posted(Shape::Feishu, Some("demo"));
        assert_eq!((&body["msg_type"], &body["timestamp"]), (&"text".into(), &"1577262236".into()));
        assert_eq!(body["sign"], sign::feishu(1_577_262_236, "demo"));
        assert!(body["content"]["text"].as_str().is_some_and(|text| text.contains("‹at all›")));
        assert_eq!(posted(Shape::Feishu, None).1.get("sign"), None);
    }

    #[test]
    fn wecom_gets_no_more_than_it_takes() {
        let long = Letter { text: "π".repeat(3_000), ..letter() };
        let post = post(Shape::WeCom, "https://host/x", None, &long, AT_MS);
        let body: Value = serde_json::from_str(&post.body).expect("JSON");
        assert_eq!(body["msgtype"], "text");
        assert_eq!(body["text"]["content"].as_str().map(str::len), Some(2_000));
    }

    #[test]
    fn plain_json_is_signed_in_headers() {
        let (post, body) = posted(Shape::Plain, Some("key"));
        assert_eq!(body, letter().fields);
        let signature = format!("sha256={}", sign::plain(AT_MS, "key", &post.body));
        let expected =
            [("tidewire-timestamp", AT_MS.to_string()), ("tidewire-signature", signature)];
        assert_eq!(post.headers, expected);
        assert_eq!(posted(Shape::Plain, None).0.headers, []);
    }

    #[test]
    fn answers_are_understood_as_their_receivers_mean_them() {
        let again = |shape, status, body: &str| judge(shape, status, body).map_err(|it| it.again);
        for (shape, status, body, expected) in [
            (Shape::Plain, 204, "", Ok(())),
            (Shape::Plain, 503, "x", Err(true)),
            (Shape::Plain, 404, "x", Err(false)),
            (Shape::Plain, 302, "", Err(false)),
            (Shape::Slack, 200, "ok", Ok(())),
            (Shape::Slack, 403, "invalid_token", Err(false)),
            (Shape::Slack, 429, "", Err(true)),
            (Shape::DingTalk, 200, r#"{"errcode":0,"errmsg":"ok"}"#, Ok(())),
            (Shape::DingTalk, 200, r#"{"errcode":310000,"errmsg":"sign not match"}"#, Err(false)),
            (Shape::DingTalk, 200, r#"{"errcode":130101,"errmsg":"send too fast"}"#, Err(true)),
            (Shape::DingTalk, 200, "<html>", Err(false)),
            (Shape::Feishu, 200, r#"{"code":0,"msg":"success","data":{}}"#, Ok(())),
            (Shape::Feishu, 200, r#"{"StatusCode":0,"StatusMessage":"success"}"#, Ok(())),
            (Shape::Feishu, 200, r#"{"code":19021,"msg":"sign match fail"}"#, Err(false)),
            (Shape::Feishu, 200, r#"{"code":9499,"msg":"too many request"}"#, Err(true)),
            (Shape::WeCom, 200, r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#, Err(false)),
            (Shape::WeCom, 200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, Err(true)),
        ] {
            assert_eq!(again(shape, status, body), expected, "{shape:?} {status} {body}");
        }
        let why = judge(Shape::Plain, 404, "a secret, maybe").expect_err("refused").why;
        assert_eq!(why, "answered 404");
    }
}
