//! One POST over HTTP. No redirect is followed: the address is a secret, and who it is for was decided.

use tidewire_shared::Secret;
use tidewire_shared::channel::{Shape, origin};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use super::send::{ATTEMPT, Refused, Secrets};
use super::{Letter, shape};
use crate::clock;

/// Bytes of an answer that are read.
const ANSWER_MAX: u64 = 16 << 10;

/// Posts a message in the shape of its receiver.
///
/// # Errors
/// When the receiver cannot be reached or did not take it.
pub(super) async fn post(shape: Shape, secrets: &Secrets, letter: Letter) -> Result<(), Refused> {
    let url = secrets.url.as_ref().map_or("", Secret::expose).trim();
    let Some(place) = origin(url).map(str::to_owned) else {
        return Err(Refused::for_good("`url` is no address like https://host/path"));
    };
    let sign = secrets.sign.as_ref().map(Secret::expose);
    let post = shape::post(shape, url, sign, &letter, clock::wall_ms());
    let agent = agent(secrets.ca.as_ref())?;
    let posted = tokio::task::spawn_blocking(move || exchange(&agent, &post));
    let answer = posted.await.map_err(|_| Refused::at_present("the request was cut off"))?;
    let (status, body) = answer.map_err(|error| unreached(&error, &place))?;
    shape::judge(shape, status, &body)
        .map_err(|refused| Refused { why: format!("{place} {}", refused.why), ..refused })
}

fn agent(ca: Option<&Secret>) -> Result<Agent, Refused> {
    let roots = match ca {
        None => RootCerts::WebPki,
        Some(pem) => {
            let items = parse_pem(pem.expose().as_bytes());
            let certificates = items.filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                return Err(Refused::for_good("`ca` holds no certificate in PEM"));
            }
            RootCerts::new_with_certs(&certificates)
        }
    };
    let config = Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(ATTEMPT))
        .user_agent(concat!("tidewire/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().new_agent())
}

fn exchange(agent: &Agent, post: &shape::Post) -> Result<(u16, String), Error> {
    let mut request = agent.post(&post.url).header("content-type", "application/json");
    for (name, value) in &post.headers {
        request = request.header(*name, value);
    }
    let mut answer = request.send(post.body.as_bytes())?;
    let status = answer.status().as_u16();
    // The status alone tells, where the rest of an answer does not come or is none.
    let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string();
    Ok((status, body.unwrap_or_default()))
}

/// Said in our words: the client's own may hold the address.
fn unreached(error: &Error, place: &str) -> Refused {
    match error {
        Error::Timeout(_) => {
            Refused::at_present(format!("{place} did not answer within {} s", ATTEMPT.as_secs()))
        }
        Error::HostNotFound => Refused::at_present(format!("the host of {place} is not known")),
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Refused::for_good(format!("{place} is not trusted: {error}"))
        }
        Error::Io(error) => Refused::at_present(format!("no connection to {place}: {error}")),
        Error::Rustls(error) => Refused::for_good(format!("{place} is not trusted: {error}")),
        Error::Tls(why) => Refused::for_good(format!("{place} cannot be encrypted to: {why}")),
        Error::InvalidProxyUrl => Refused::for_good("the proxy of the environment is no address"),
        _ => Refused::at_present(format!("the exchange with {place} failed")),
    }
}
