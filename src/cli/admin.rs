//! The admin plane that a command asks, and the token that it shows there.
//!
//! In: a URL, maybe with the token as its password, and the environment. Out: requests that carry the token; the URL without it, for messages;
//! and what to do about a 401. Not here: what is asked, and an option for the token: whoever lists processes would read it.

use std::fmt;

use reqwest::{Client, RequestBuilder, Url};

use super::parse_http_url;
use crate::control::config::values::Secret;
use crate::control::swap::environment;

/// Where the token is looked for, unless the URL has it.
const VARIABLE: &str = "PELLUCID_ADMIN_TOKEN";

/// Where an admin plane is.
#[derive(Clone)]
pub(super) struct AdminPlane {
    /// Without user and password, and with no slash at its end, so that paths can follow.
    shown: String,
    /// With both, where they were given.
    given: Option<Box<Url>>,
}

impl AdminPlane {
    /// The value of `--admin`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = parse_http_url(text)?;
        let given = Url::parse(&text).map_err(|error| error.to_string())?;
        if given.password().is_none() && !given.username().is_empty() {
            return Err("found a user without a password, expected the token as one, as in http://any:TOKEN@127.0.0.1:9901".to_owned());
        }
        let mut bare = given.clone();
        // A URL with a host takes both.
        let _ = (bare.set_username(""), bare.set_password(None));
        let given = given.password().is_some().then(|| Box::new(given));
        Ok(AdminPlane { shown: bare.as_str().trim_end_matches('/').to_owned(), given })
    }

    /// A request for a page of it, with the token, if there is one.
    pub(super) fn get(&self, client: &Client, mut page: Url) -> Result<RequestBuilder, String> {
        if let Some(given) = &self.given {
            // A URL with a host takes both; the client makes a header of them.
            let _ = (page.set_username(given.username()), page.set_password(given.password()));
            return Ok(client.get(page));
        }
        let request = client.get(page);
        Ok(match token(&environment)? {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        })
    }

    /// What a 401 means, and what to do about it.
    pub(super) fn unauthorized(&self) -> String {
        self.why(&environment)
    }

    fn why(&self, environment: &dyn Fn(&str) -> Option<String>) -> String {
        let why = if self.given.is_some() {
            format!("the password in the URL is not its token; leave it out and set {VARIABLE}")
        } else if let Ok(Some(_)) = token(environment) {
            format!("the value of {VARIABLE} is not its token")
        } else {
            format!("set {VARIABLE} to its token")
        };
        format!("found status 401, the admin plane wants the token of its configuration (admin.token): {why}")
    }
}

/// The token of the environment. One that cannot be a token is the user's mistake, and is not sent anywhere.
fn token(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<Secret>, String> {
    let Some(value) = environment(VARIABLE).filter(|value| !value.trim().is_empty()) else { return Ok(None) };
    let token = Secret::parse(value.trim());
    token.map(Some).ok_or_else(|| format!("{VARIABLE}: found a value that cannot be a token, expected {}", Secret::expected()))
}

impl fmt::Display for AdminPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for AdminPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse+battery/staple==";

    fn header(plane: &AdminPlane) -> Option<String> {
        let page = Url::parse(&format!("{plane}/metrics")).unwrap();
        let request = plane.get(&Client::new(), page).unwrap().build().unwrap();
        assert!(request.url().password().is_none() && request.url().username().is_empty(), "{}", request.url());
        Some(request.headers().get("authorization")?.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_password_of_the_url_is_sent_and_not_shown() {
        let plane = AdminPlane::parse("http://any:correct-horse+battery%2Fstaple%3D%3D@127.0.0.1:9901/behind/").unwrap();
        assert_eq!(format!("{plane} {plane:?}"), "http://127.0.0.1:9901/behind http://127.0.0.1:9901/behind");
        // Of `any:` and the token.
        assert_eq!(header(&plane).unwrap(), "Basic YW55OmNvcnJlY3QtaG9yc2UrYmF0dGVyeS9zdGFwbGU9PQ==");
        assert!(plane.why(&|_| None).contains(VARIABLE));
        let why = AdminPlane::parse("http://someone@127.0.0.1:9901").unwrap_err();
        assert!(why.contains("http://any:TOKEN@"), "{why}");
    }

    #[test]
    fn the_environment_has_the_token_or_says_that_it_is_none() {
        let lookup = |value: &str| token(&|name| (name == VARIABLE).then(|| value.to_owned()));
        assert!(lookup(&format!(" {TOKEN}\n")).unwrap().unwrap().is(TOKEN.as_bytes()));
        assert_eq!((lookup(""), lookup(" ")), (Ok(None), Ok(None)));
        let why = lookup("too-short").unwrap_err();
        assert!(why.contains(VARIABLE) && !why.contains("too-short"), "{why}");
    }

    #[test]
    fn a_401_is_told_with_what_to_do() {
        let plane = AdminPlane::parse("http://127.0.0.1:9901").unwrap();
        assert!(plane.why(&|_| None).ends_with("set PELLUCID_ADMIN_TOKEN to its token"));
        assert!(plane.why(&|_| Some(TOKEN.to_owned())).ends_with("the value of PELLUCID_ADMIN_TOKEN is not its token"));
    }
}
