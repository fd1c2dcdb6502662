//! Reads one logical message of pgoutput, protocol version 1.
