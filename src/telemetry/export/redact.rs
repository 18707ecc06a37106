//! Keeping secrets out of what is exported.
//!
//! In: the query of a request. Out: the same with the values of keys that usually carry secrets replaced. The first four are those of the
//! OpenTelemetry semantic conventions for `url.query`. Not here: headers (`record::captured`) and bodies, which are never exported.

use crate::telemetry::record::captured::HIDDEN;

/// Keys whose values never leave, compared without regard to case.
const SECRET_KEYS: [&str; 22] = [
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "auth",
    "authorization",
    "api_key",
    "apikey",
    "key",
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "code",
];

/// The query with secret values replaced.
pub(crate) fn query(query: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((key, _)) if is_secret(key) => {
                out.push_str(key);
                out.push('=');
                out.push_str(HIDDEN);
            }
            _ => out.push_str(pair),
        }
    }
    out
}

fn is_secret(key: &str) -> bool {
    SECRET_KEYS.iter().any(|secret| key.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_keys_are_replaced_and_others_stay() {
        assert_eq!(query("a=1&Token=abc&sig=&b"), "a=1&Token=REDACTED&sig=REDACTED&b");
        assert_eq!(query(""), "");
        assert_eq!(query("tokens=1&x=token=2"), "tokens=1&x=token=2");
    }
}
