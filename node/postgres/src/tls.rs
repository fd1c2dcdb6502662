//! TLS by rustls with ring.
