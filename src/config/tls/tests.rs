use serde_json::json;

use super::*;
use crate::config::{PassfileName, from_json, wanted_from_json};

fn read(query: &str, ssl: &Value) -> Result<Tls, Error> {
    let mut options = json!({ "connectionString": format!("postgres://u@h/?{query}") });
    if !ssl.is_null() {
        options["ssl"] = ssl.clone();
    }
    options[CONTENTS] = json!({ "ca": "CA", "cert": "C", "key": "K", "system": "S" });
    Ok(from_json(&options)?.tls)
}

#[test]
fn modes_mean_what_libpq_and_node_mean() {
    let given = || Roots::Given("CA".to_owned());
    let system = || Roots::System("S".to_owned());
    let unverified = json!({ "rejectUnauthorized": false });
    let table = [
        ("", json!(null), SslMode::Prefer, Roots::None),
        ("", json!(true), SslMode::VerifyFull, system()),
        ("", json!(false), SslMode::Disable, Roots::None),
        ("", json!("require"), SslMode::Require, Roots::None),
        ("", json!({}), SslMode::VerifyFull, system()),
        ("", json!({ "ca": "CA" }), SslMode::VerifyFull, given()),
        ("", unverified.clone(), SslMode::Require, Roots::None),
        ("", json!({ "rejectUnauthorized": true }), SslMode::VerifyFull, system()),
        ("sslmode=allow", json!(null), SslMode::Disable, Roots::None),
        ("sslmode=require", json!(null), SslMode::Require, Roots::None),
        ("sslmode=require&sslrootcert=x", json!(null), SslMode::Require, given()),
        ("sslmode=require", json!({ "ca": "CA" }), SslMode::VerifyFull, given()),
        ("sslmode=prefer", json!({ "ca": "CA" }), SslMode::VerifyFull, given()),
        ("sslmode=require", json!({ "servername": "s" }), SslMode::VerifyFull, system()),
        ("requiressl=1", json!({}), SslMode::VerifyFull, system()),
        ("ssl=true", json!({ "ca": "CA" }), SslMode::VerifyFull, given()),
        ("sslmode=verify-ca", json!({ "ca": "CA" }), SslMode::VerifyCa, given()),
        ("sslmode=no-verify", json!({ "ca": "CA" }), SslMode::Require, Roots::None),
        ("sslmode=prefer", unverified.clone(), SslMode::Require, Roots::None),
        ("sslmode=require&sslrootcert=x", unverified.clone(), SslMode::Require, Roots::None),
        ("", json!({ "rejectUnauthorized": false, "ca": "CA" }), SslMode::Require, Roots::None),
        ("sslmode=verify-full", json!(null), SslMode::VerifyFull, system()),
        ("sslmode=verify-full&sslrootcert=x", json!(null), SslMode::VerifyFull, given()),
        ("sslmode=verify-ca&sslrootcert=x", json!(null), SslMode::VerifyCa, given()),
        ("sslrootcert=system", json!(null), SslMode::VerifyFull, system()),
        ("sslmode=no-verify", json!(null), SslMode::Require, Roots::None),
        ("sslmode=no-verify&sslrootcert=x", json!(null), SslMode::Require, Roots::None),
        ("ssl=true", json!(null), SslMode::VerifyFull, system()),
        ("requiressl=1", json!(null), SslMode::Require, Roots::None),
        ("requiressl=0&sslcompression=0", json!(null), SslMode::Prefer, Roots::None),
        ("sslmode=verify-full", json!(true), SslMode::VerifyFull, system()),
    ];
    for (query, ssl, mode, roots) in table {
        let tls = read(query, &ssl).unwrap_or_else(|error| panic!("{query} {ssl}: {error}"));
        assert_eq!((tls.mode, tls.roots), (mode, roots), "{query} {ssl}");
    }
}

#[test]
fn only_what_says_nothing_spares_this_machine() {
    let is_default = |query: &str, ssl: Value| read(query, &ssl).unwrap().is_default;
    assert!(is_default("", json!(null)) && is_default("channel_binding=prefer", json!(null)));
    for query in ["sslmode=prefer", "channel_binding=require", "sslcert=c&sslkey=k"] {
        assert!(!is_default(query, json!(null)), "{query}");
    }
    assert!(!is_default("", json!("prefer")));
}

#[test]
fn every_key_is_read() {
    let tls = read(
        "sslmode=require&sslcert=c&sslkey=k&sslpassword=p&sslsni=0&sslnegotiation=direct\
         &ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3&channel_binding=require\
         &sslcertmode=require&sslcrl=x",
        &json!({ "servername": "s", "crl": "L" }),
    )
    .unwrap();
    let identity = tls.identity.unwrap();
    assert_eq!((identity.chain.as_str(), identity.key.expose()), ("C", "K"));
    assert!(!format!("{identity:?}").contains("\"K\""));
    assert_eq!((tls.server_name.as_deref(), tls.sends_name), (Some("s"), false));
    assert_eq!((tls.oldest, tls.newest), (TlsVersion::V1_3, TlsVersion::V1_3));
    assert_eq!((tls.is_direct, tls.channel_binding), (true, ChannelBinding::Require));
    assert_eq!(tls.revocations.as_deref(), Some("L"));
}

#[test]
fn a_function_is_asked_for_all_but_the_mode_and_the_channel_binding() {
    let asked = json!({ ASKED: true });
    let tls = read("channel_binding=require", &asked).unwrap();
    assert!(tls.is_asked && !tls.is_default);
    assert_eq!((tls.mode, tls.roots), (SslMode::VerifyFull, Roots::None));
    assert_eq!(tls.channel_binding, ChannelBinding::Require);
    assert_eq!(read("sslmode=require", &asked).unwrap().mode, SslMode::VerifyFull);
    assert!(read("sslmode=disable", &asked).is_err());
    let string = "postgres://u@h/?sslmode=verify-full&sslcert=c&sslkey=k";
    let options = json!({ "connectionString": string, "ssl": asked });
    let nothing = Wanted { passfile: Some(PassfileName::Default), ..Wanted::default() };
    assert_eq!(wanted_from_json(&options).unwrap(), nothing);
}

#[test]
fn files_are_named_and_not_read() {
    let wanted = |query: &str| {
        let options = json!({ "connectionString": format!("postgres://u@h/?{query}") });
        wanted_from_json(&options).unwrap()
    };
    let nothing = Wanted { passfile: Some(PassfileName::Default), ..Wanted::default() };
    assert_eq!(wanted(""), nothing);
    assert_eq!(wanted("sslmode=require"), nothing);
    assert!(wanted("sslmode=verify-full").system && wanted("sslrootcert=system").system);
    let all = wanted("sslmode=verify-full&sslrootcert=r&sslcert=c&sslkey=k&sslcrl=l&sslpassword=p");
    let text = |text: &str| Some(text.to_owned());
    let expect = Wanted {
        root_cert: text("r"),
        cert: text("c"),
        key: text("k"),
        crl: text("l"),
        password: text("p"),
        system: false,
        ..wanted("")
    };
    assert_eq!(all, expect);
    assert_eq!(wanted("sslcert=c&sslkey=k&sslcertmode=disable").cert, None);
}

#[test]
fn wrong_ones_are_refused_and_no_key_is_shown() {
    let table = [
        ("sslmode=on", json!(null), "one of disable, allow, prefer"),
        ("sslsni=2", json!(null), "must be 0 or 1"),
        ("sslcompression=1", json!(null), "CRIME"),
        ("sslnegotiation=x", json!(null), "one of postgres, direct"),
        ("sslcertmode=x", json!(null), "one of disable, allow, require"),
        ("channel_binding=x", json!(null), "one of disable, prefer, require"),
        ("ssl_min_protocol_version=TLSv1", json!(null), "RFC 8996"),
        ("ssl=x", json!(null), "true or false"),
        ("", json!(5), "true, false, an object"),
        ("", json!({ "$given": "a function" }), "not a function"),
        ("", json!({ "key": 5 }), "'ssl.key' must be a string, not a number"),
        ("", json!({ "pfx": "x" }), "openssl pkcs12"),
        ("", json!({ "ciphers": "x" }), "safe ones only"),
        ("", json!({ "sslmode": "x" }), "in the connection string"),
        ("", json!({ "certs": "x" }), "did you mean 'cert'?"),
        ("sslmode=disable", json!(true), "different things"),
        ("sslmode=disable", json!({ "ca": "CA" }), "turns TLS off"),
    ];
    for (query, ssl, words) in table {
        let error = read(query, &ssl).expect_err(query);
        assert!(error.message().contains(words), "{query} {ssl}: {error}");
    }
}
