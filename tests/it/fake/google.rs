//! A Google that logs accounts in, renews their tokens and serves Code Assist, as far as a log-in
//! and a first prompt need it (RFC 6749, RFC 7636; shapes of `loadCodeAssist` and its siblings as
//! observed, read 2026-11-22). Every token it gives holds the [`CANARY`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::fake::reply::{Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::fake::{CANARY, sse};
use crate::harness::{Home, patiently};

/// The secret of the OAuth client.
pub(crate) fn client_secret() -> String {
    format!("GOCSPX-{CANARY}-0123456789abcdefg")
}

/// Answers one verb of Code Assist: `:loadCodeAssist`.
type Verb = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

/// A running Google.
pub(crate) struct Google {
    upstream: Upstream,
    books: Arc<Mutex<Books>>,
}

/// When a refresh token is replaced.
#[derive(Clone, Copy, PartialEq)]
enum Rotation {
    Never,
    AtOnce,
    OnceUsed,
}

/// What Google knows.
struct Books {
    /// Who is logged in to the browser; `None` says no to every log-in.
    user: Option<String>,
    /// When a refresh token is replaced; the account is lost when one is used after that.
    rotates: Rotation,
    /// Answers in place of the next refreshes.
    refusals: Vec<Reply>,
    /// What refreshes wait for before they are answered.
    gate: Option<Gate>,
    verbs: HashMap<String, Verb>,
    given: u64,
    /// Code challenges and users by code.
    codes: HashMap<String, (String, String)>,
    refresh_tokens: HashMap<String, String>,
    /// Refresh tokens that end once the access token beside them is used, by that.
    leaving: HashMap<String, String>,
    spent: HashSet<String>,
    access_tokens: HashMap<String, String>,
    latest: Option<String>,
    refreshes: usize,
    thefts: usize,
}

impl Google {
    /// Google, with somebody logged in to the browser.
    pub(crate) async fn start(user: &str) -> Self {
        let books = Arc::new(Mutex::new(Books::new(user)));
        let own = Arc::clone(&books);
        let script = Script::new().answer(move |request| {
            let mut books = own.lock().expect("no answer panics");
            books.answer(request)
        });
        let upstream = Upstream::start(script).await;
        Self { upstream, books }
    }

    /// The section of `config.toml` that leads a provider here.
    pub(crate) fn config(&self, provider: &str) -> String {
        let origin = self.upstream.origin();
        format!(
            "[providers.{provider}]\nbase_url = \"{origin}\"\n\
             [providers.{provider}.oauth]\nauth_url = \"{origin}/auth\"\n\
             token_url = \"{origin}/token\"\nuserinfo_url = \"{origin}/userinfo\"\n\
             callback_port = 0\n"
        )
    }

    /// A home whose Gemini CLI is this Google, with the client's secret in the environment.
    pub(crate) fn home(&self) -> Home {
        let home = Home::with_config(&self.config("gemini_cli"));
        home.env("GEMINI_CLI_CLIENT_SECRET", &client_secret())
    }

    /// The server underneath, for what it was asked.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Who is logged in to the browser from now on.
    pub(crate) fn user(&self, user: Option<&str>) {
        self.books().user = user.map(str::to_owned);
    }

    /// Replaces refresh tokens with each use from now on.
    pub(crate) fn rotate(&self) {
        self.books().rotates = Rotation::AtOnce;
    }

    /// Gives a new refresh token with each use from now on, and takes the old one until what came with
    /// the new one is used: a client that died before it had saved that loses nothing, and one that uses
    /// what it has not saved may lose all.
    pub(crate) fn rotate_once_used(&self) {
        self.books().rotates = Rotation::OnceUsed;
    }

    /// Whether the latest access token is taken, and was used already.
    pub(crate) fn is_settled(&self) -> bool {
        let books = self.books();
        let latest = books.latest.as_ref();
        latest.is_some_and(|latest| {
            books.access_tokens.contains_key(latest) && !books.leaving.contains_key(latest)
        })
    }

    /// How many spent refresh tokens were shown.
    pub(crate) fn thefts(&self) -> usize {
        self.books().thefts
    }

    /// Answers the next refresh so.
    pub(crate) fn refuse(&self, reply: Reply) {
        self.books().refusals.insert(0, reply);
    }

    /// Lets refreshes be done at once, but answered only as the gate opens.
    pub(crate) fn hold_refreshes(&self, gate: &Gate) {
        self.books().gate = Some(gate.clone());
    }

    /// Answers a verb of Code Assist so from now on.
    pub(crate) fn on(
        &self,
        verb: &str,
        answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) {
        self.books().verbs.insert(verb.to_owned(), Arc::new(answer));
    }

    /// The access token that was given last.
    pub(crate) fn latest(&self) -> Option<String> {
        self.books().latest.clone()
    }

    /// How many refreshes were asked for.
    pub(crate) fn refreshes(&self) -> usize {
        self.books().refreshes
    }

    /// Forgets all access tokens: whoever comes with one gets a 401.
    pub(crate) fn revoke_access(&self) {
        self.books().access_tokens.clear();
    }

    /// An account as Gemini CLI keeps it, whose access token has ended.
    pub(crate) fn file_of(&self, user: &str) -> String {
        let mut books = self.books();
        let refresh_token = books.token("1//", "r");
        books
            .refresh_tokens
            .insert(refresh_token.clone(), user.to_owned());
        let claims = URL_SAFE_NO_PAD.encode(json!({"email": user}).to_string());
        json!({
            "access_token": format!("ya29.{CANARY}-old"), "refresh_token": refresh_token,
            "scope": "https://www.googleapis.com/auth/cloud-platform", "token_type": "Bearer",
            "id_token": format!("h.{claims}.s"), "expiry_date": 1_000,
        })
        .to_string()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no answer panics")
    }
}

impl Books {
    fn new(user: &str) -> Self {
        Self {
            user: Some(user.to_owned()),
            rotates: Rotation::Never,
            refusals: Vec::new(),
            gate: None,
            verbs: HashMap::new(),
            given: 0,
            codes: HashMap::new(),
            refresh_tokens: HashMap::new(),
            leaving: HashMap::new(),
            spent: HashSet::new(),
            access_tokens: HashMap::new(),
            latest: None,
            refreshes: 0,
            thefts: 0,
        }
    }

    fn token(&mut self, prefix: &str, name: &str) -> String {
        self.given += 1;
        format!("{prefix}{CANARY}-{name}-{}", self.given)
    }

    fn answer(&mut self, request: &Recorded) -> Reply {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        match path {
            "/auth" => self.page(&pairs(query)),
            "/token" => self.exchange(&pairs(&request.text())),
            "/userinfo" => match self.caller(request) {
                Some(user) => Reply::json(200, json!({"email": user}).to_string()),
                None => unauthenticated(),
            },
            _ => self.code_assist(path, request),
        }
    }

    /// The log-in page, whose user has agreed (or not) before anybody could read it.
    fn page(&mut self, query: &HashMap<String, String>) -> Reply {
        let back = &query["redirect_uri"];
        let state = &query["state"];
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["access_type"], "offline");
        let answer = match self.user.clone() {
            None => "error=access_denied".to_owned(),
            Some(user) => {
                let code = self.token("4-", "c");
                let challenge = query["code_challenge"].clone();
                self.codes.insert(code.clone(), (challenge, user));
                format!("code={code}")
            }
        };
        let location = format!("{back}?{answer}&state={state}");
        Reply::text(302, "text/html", "").header("location", &location)
    }

    fn exchange(&mut self, form: &HashMap<String, String>) -> Reply {
        if form.get("client_secret") != Some(&client_secret()) {
            return oauth_error(401, "invalid_client", "The OAuth client was not found.");
        }
        if form["grant_type"] == "refresh_token" {
            return self.refresh(&form["refresh_token"]);
        }
        let Some((challenge, user)) = self.codes.remove(&form["code"]) else {
            return oauth_error(400, "invalid_grant", "Malformed auth code.");
        };
        let verifier = form["code_verifier"].as_bytes();
        let hash = ring::digest::digest(&ring::digest::SHA256, verifier);
        if URL_SAFE_NO_PAD.encode(hash) != challenge {
            return oauth_error(400, "invalid_grant", "Invalid code verifier.");
        }
        self.give(&user, true)
    }

    fn refresh(&mut self, refresh_token: &str) -> Reply {
        self.refreshes += 1;
        if let Some(refusal) = self.refusals.pop() {
            return refusal;
        }
        if self.spent.contains(refresh_token) {
            // Whoever shows a spent token is a thief, or has lost the new one.
            self.refresh_tokens.clear();
            self.thefts += 1;
        }
        let Some(user) = self.refresh_tokens.get(refresh_token).cloned() else {
            return revoked();
        };
        if self.rotates == Rotation::AtOnce {
            self.spend(refresh_token);
        }
        let given = self.give(&user, self.rotates != Rotation::Never);
        if self.rotates == Rotation::OnceUsed
            && let Some(access_token) = self.latest.clone()
        {
            self.leaving.insert(access_token, refresh_token.to_owned());
        }
        match &self.gate {
            Some(gate) => given.gated(gate),
            None => given,
        }
    }

    fn spend(&mut self, refresh_token: &str) {
        self.refresh_tokens.remove(refresh_token);
        self.spent.insert(refresh_token.to_owned());
    }

    fn give(&mut self, user: &str, with_refresh_token: bool) -> Reply {
        let access_token = self.token("ya29.", "a");
        self.latest = Some(access_token.clone());
        self.access_tokens
            .insert(access_token.clone(), user.to_owned());
        let mut answer = json!({
            "access_token": access_token, "expires_in": 3_599, "token_type": "Bearer",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
        });
        if with_refresh_token {
            let refresh_token = self.token("1//", "r");
            self.refresh_tokens
                .insert(refresh_token.clone(), user.to_owned());
            answer["refresh_token"] = refresh_token.into();
        }
        Reply::json(200, answer.to_string())
    }

    fn caller(&self, request: &Recorded) -> Option<&String> {
        self.access_tokens.get(request.key.as_ref()?)
    }

    fn code_assist(&mut self, path: &str, request: &Recorded) -> Reply {
        let used = request.key.as_ref();
        if let Some(old) = used.and_then(|access_token| self.leaving.remove(access_token)) {
            self.spend(&old);
        }
        if self.caller(request).is_none() {
            return unauthenticated();
        }
        let verb = path.rfind(':').map_or(path, |at| &path[at..]);
        if let Some(answer) = self.verbs.get(verb) {
            return answer(request);
        }
        match verb {
            ":loadCodeAssist" => Reply::json(200, served().to_string()),
            ":generateContent" => Reply::json(200, enveloped("Hello!").to_string()),
            ":streamGenerateContent" => Reply::sse([sse::data(&enveloped("Hello!"))]),
            ":retrieveUserQuota" => Reply::json(200, quota(0.5).to_string()),
            _ => Reply::json(
                404,
                r#"{"error":{"code":404,"status":"NOT_FOUND","message":"no such method"}}"#,
            ),
        }
    }
}

/// `loadCodeAssist` of an account that is served.
pub(crate) fn served() -> Value {
    json!({"currentTier": {"id": "standard-tier"}, "cloudaicompanionProject": "proj-1"})
}

/// A whole answer in its envelope.
pub(crate) fn enveloped(text: &str) -> Value {
    json!({"response": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]},
                        "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "gemini-2.5-pro", "responseId": "r-1",
    }, "traceId": "t-1"})
}

/// `retrieveUserQuota` with this share left of Gemini 2.5 Pro.
pub(crate) fn quota(left: f64) -> Value {
    json!({"buckets": [{
        "modelId": "gemini-2.5-pro", "tokenType": "REQUESTS", "remainingFraction": left,
        "resetTime": "2099-01-01T00:00:00Z",
    }]})
}

/// The refusal of a refresh token for good.
pub(crate) fn revoked() -> Reply {
    oauth_error(400, "invalid_grant", "Token has been expired or revoked.")
}

fn oauth_error(status: u16, code: &str, description: &str) -> Reply {
    let body = json!({"error": code, "error_description": description});
    Reply::json(status, body.to_string())
}

fn unauthenticated() -> Reply {
    let body = json!({"error": {
        "code": 401, "status": "UNAUTHENTICATED",
        "message": "Request had invalid authentication credentials.",
    }});
    Reply::json(401, body.to_string())
}

/// A query or form, decoded.
fn pairs(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or(b'0'));
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).expect("two hex digits")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// A browser that `--open-cmd` starts.
pub(crate) struct Browser {
    listener: TcpListener,
    /// What to give to `--open-cmd`.
    pub(crate) command: String,
}

impl Browser {
    /// Installs the browser in a home.
    pub(crate) async fn install(home: &Home) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let script = home.path("browser");
        let text =
            format!("#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/{port}\nprintf '%s\\n' \"$1\" >&3\n");
        std::fs::write(&script, text).expect("writable");
        {
            use std::os::unix::fs::PermissionsExt;
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&script, executable).expect("our own file");
        }
        let command = script.display().to_string();
        Self { listener, command }
    }

    /// The page it was started with.
    pub(crate) async fn opened(&self) -> String {
        let (stream, _) = patiently("the browser", self.listener.accept())
            .await
            .expect("a connection");
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).await.expect("a line");
        line.trim().to_owned()
    }

    /// Opens the page, and goes where it leads.
    pub(crate) async fn play(&self) {
        let back = sent_back(&self.opened().await).await;
        let page = get(&back).await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains("close this page"), "{page}");
    }
}

/// Where the log-in page sends its visitor.
pub(crate) async fn sent_back(page: &str) -> String {
    let answer = get(page).await;
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    location
        .unwrap_or_else(|| panic!("a redirect: {answer}"))
        .to_owned()
}

/// GET of an http address on this machine: the whole answer, which may hold a code.
pub(crate) async fn get(url: &str) -> String {
    let rest = url.strip_prefix("http://").expect("http");
    let (host, _) = rest.split_once('/').expect("a path");
    let address = host.replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let target = &rest[host.len()..];
    let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut answer = Vec::new();
    let is_whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))?;
        (body.len() >= length.parse().ok()?).then_some(())
    };
    while is_whole(&answer).is_none() {
        let read = patiently("a page", stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("open"), 0, "the page broke off");
    }
    String::from_utf8(answer).expect("text")
}
