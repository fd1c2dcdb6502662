//! Startup and authentication (PostgreSQL documentation, "Message Flow", "SASL Authentication").

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tidewire_shared::{Fault, FaultKind};
use tokio_postgres::fallible_iterator::FallibleIterator;

use super::wire::{Received, Wire};
use crate::fault::{ServerError, garbled};
use crate::session::PINNED;
use crate::source::Login;

/// Logs in for logical replication and returns the process id of our walsender.
pub(super) async fn log_in(wire: &mut Wire, login: &Login) -> Result<i32, Fault> {
    let mut message = BytesMut::new();
    let parameters = [
        ("user", login.user.as_str()),
        ("database", login.database.as_str()),
        ("replication", "database"),
        ("application_name", login.application_name.as_str()),
        ("client_encoding", "UTF8"),
        ("options", PINNED),
    ];
    frontend::startup_message(parameters, &mut message)
        .map_err(|error| garbled(&wire.host, error))?;
    wire.send(&message).await?;
    authenticate(wire, login).await?;
    let mut pid = 0;
    loop {
        match next(wire).await? {
            Message::BackendKeyData(body) => pid = body.process_id(),
            Message::ReadyForQuery(_) => return Ok(pid),
            _ => return Err(unexpected(wire)),
        }
    }
}

async fn authenticate(wire: &mut Wire, login: &Login) -> Result<(), Fault> {
    loop {
        match next(wire).await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                if !wire.transport.is_private() {
                    return Err(denied(
                        wire,
                        "the server asks for the password in the clear",
                        "set tls.mode to require or better, or use scram-sha-256 in pg_hba.conf",
                    ));
                }
                let password = password(wire, login)?;
                send_password(wire, password.as_bytes()).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let password = password(wire, login)?;
                let hash = md5_hash(login.user.as_bytes(), password.as_bytes(), body.salt());
                send_password(wire, hash.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => scram(wire, login, &body).await?,
            _ => {
                return Err(denied(
                    wire,
                    "the server asks for a way to log in that is not supported",
                    "use scram-sha-256, md5, cert or trust in pg_hba.conf",
                ));
            }
        }
    }
}

async fn scram(
    wire: &mut Wire,
    login: &Login,
    offer: &AuthenticationSaslBody,
) -> Result<(), Fault> {
    let mechanisms = offer.mechanisms().map(|name| Ok(name.to_owned())).collect::<Vec<_>>();
    let mechanisms = mechanisms.map_err(|error| garbled(&wire.host, error))?;
    let offers = |name: &str| mechanisms.iter().any(|offered| offered == name);
    let end_point = wire.transport.end_point();
    let (mechanism, binding) = match end_point {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))
        }
        // "We could bind, you did not offer": a man in the middle who hid the offer is found out.
        Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        _ => return Err(unexpected(wire)),
    };
    let mut exchange = ScramSha256::new(password(wire, login)?.as_bytes(), binding);
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(mechanism, exchange.message(), &mut message)
        .map_err(|error| garbled(&wire.host, error))?;
    wire.send(&message).await?;
    let Message::AuthenticationSaslContinue(challenge) = next(wire).await? else {
        return Err(unexpected(wire));
    };
    exchange.update(challenge.data()).map_err(|error| garbled(&wire.host, error))?;
    message.clear();
    frontend::sasl_response(exchange.message(), &mut message)
        .map_err(|error| garbled(&wire.host, error))?;
    wire.send(&message).await?;
    let Message::AuthenticationSaslFinal(proof) = next(wire).await? else {
        return Err(unexpected(wire));
    };
    exchange.finish(proof.data()).map_err(|_| {
        denied(
            wire,
            "the server does not know our password: it is not the one it claims to be",
            "check the host, and use tls.mode verify-full",
        )
    })
}

/// The next message; an error of the server becomes a fault.
async fn next(wire: &mut Wire) -> Result<Message, Fault> {
    match wire.receive().await? {
        Received::Message(Message::ErrorResponse(body)) => {
            Err(ServerError::from_response(&body).fault(&wire.host, &wire.session))
        }
        Received::Message(message) => Ok(message),
        Received::CopyBoth => Err(unexpected(wire)),
    }
}

async fn send_password(wire: &mut Wire, password: &[u8]) -> Result<(), Fault> {
    let mut message = BytesMut::new();
    frontend::password_message(password, &mut message)
        .map_err(|error| garbled(&wire.host, error))?;
    wire.send(&message).await
}

fn password<'a>(wire: &Wire, login: &'a Login) -> Result<&'a str, Fault> {
    let secret = login.password.as_ref().map(tidewire_shared::Secret::expose);
    secret.ok_or_else(|| {
        denied(wire, "the server asks for a password and the task has none", "set source.password")
    })
}

fn denied(wire: &Wire, message: &str, remedy: &str) -> Fault {
    Fault::new(FaultKind::SourceLogin, &wire.session, message).remedy(remedy)
}

fn unexpected(wire: &Wire) -> Fault {
    garbled(&wire.host, "an unexpected message during login")
}
