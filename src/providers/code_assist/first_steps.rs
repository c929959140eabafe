//! The first steps with an account: which tier it has, which project it works in, and onboarding
//! where it never did (`loadCodeAssist`, `onboardUser`; wire-format notes, section B, read
//! 2026-11-22).

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::providers::account::{AccountView, Bootstrap, Facts, Step};
use crate::providers::code_assist::mend::Service;
use crate::providers::code_assist::refusal;
use crate::providers::spec::Spec;
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::providers::{Answer, Call, judge};
use crate::time::Timestamp;

/// The fact that holds the project.
pub(super) const PROJECT: &str = "project_id";
/// The fact that holds the tier.
const TIER: &str = "tier";
/// The fact that holds what is left of Google One AI credits.
const CREDITS: &str = "credits";

/// The tier of an account that names none.
const STANDARD: &str = "standard-tier";
/// The tier whose project Google makes itself: naming one fails its precondition.
const FREE: &str = "free-tier";
/// Onboarded where Google offers no default.
const LEGACY: &str = "legacy-tier";
/// The tier of an account that could not be asked, though its project is known.
const UNKNOWN: &str = "unknown";

/// How often a call is sent again that failed by no fault of the account's, and the first wait.
const RETRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// gemini-cli asks after its operation every 5 s; CLIProxyAPI repeats the request every 2 s.
const POLL_EVERY: Duration = Duration::from_secs(5);
const REPEAT_EVERY: Duration = Duration::from_secs(2);
/// Five minutes of asking.
const MAX_POLLS: u32 = 60;

/// Where an account's own projects are listed, and where it is asked what they may use
/// (<https://cloud.google.com/resource-manager/reference/rest/v1/projects/list>,
/// <https://cloud.google.com/service-usage/docs/reference/rest/v1/services/get>, read 2026-11-26).
const PROJECTS: &str =
    "//cloudresourcemanager.googleapis.com/v1/projects?filter=lifecycleState%3AACTIVE&pageSize=50";
const SERVICE_USAGE: &str = "//serviceusage.googleapis.com/v1/projects";
/// The service that a project needs.
const COMPANION: &str = "cloudaicompanion.googleapis.com";
/// Projects looked at before the owner is asked for one.
const MAX_PROJECTS: usize = 20;

/// The version of Antigravity that onboarding names.
const ANTIGRAVITY_VERSION: &str = "2.9.1";

/// `true` while something of the account is not known.
pub(super) fn are_due(account: &AccountView<'_>) -> bool {
    let tier = account.fact(TIER).or(account.tier);
    account.kind_is_account && (account.fact(PROJECT).is_none() || tier.is_none())
}

/// What each service's client says of itself.
fn metadata(service: Service) -> Value {
    match service {
        Service::GeminiCli => json!({
            "ideType": "IDE_UNSPECIFIED", "platform": "PLATFORM_UNSPECIFIED",
            "pluginType": "GEMINI",
        }),
        Service::Antigravity => json!({"ideType": "ANTIGRAVITY"}),
    }
}

/// The cheapest call that tells whether an account is served.
pub(super) fn key_test(service: Service) -> Call {
    let body = json!({"metadata": metadata(service)});
    Call::post(":loadCodeAssist", body.to_string())
}

/// What its answer says: an account with a tier is served, else the reason that is given counts.
pub(super) fn read_key_test(spec: &Spec, answer: &Answer<'_>) -> Result<(), Failure> {
    if !(200..300).contains(&answer.status) {
        return Err(super::judge::judge(spec, answer));
    }
    let body: Value = serde_json::from_slice(answer.body).unwrap_or_default();
    if body.get("currentTier").is_some_and(Value::is_object) {
        return Ok(());
    }
    if let Some(failure) = refusal::of_tiers(&body) {
        return Err(failure);
    }
    if body.get("allowedTiers").is_some_and(Value::is_array) {
        return Ok(());
    }
    let message = "the answer says nothing of the account";
    Err(Failure {
        status: Some(answer.status),
        ..Failure::new(Verdict::Transient(Fault::Garbage), message)
    })
}

/// The machine of the first steps.
#[derive(Debug)]
pub(super) struct FirstSteps {
    service: Service,
    spec: &'static Spec,
    /// The project that the owner named, or that is known from elsewhere.
    project: Option<String>,
    at: Stage,
    /// Whether a call is under way.
    has_called: bool,
    failures: u32,
    polls: u32,
    tier: String,
    credits: Option<Value>,
    /// Why the account cannot serve unless one of its own projects will do; set once these are
    /// looked through.
    refusal: Option<Failure>,
}

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// For whether the last of these projects may use the service.
    Checking(Vec<String>),
    /// For the account's own projects.
    Listing,
    Loading,
    Onboarding,
    /// For the end of an operation with this name.
    Polling(String),
}

impl FirstSteps {
    /// The first steps with this account.
    pub(super) fn new(service: Service, spec: &'static Spec, account: &AccountView<'_>) -> Self {
        Self {
            service,
            spec,
            project: account.fact(PROJECT).map(str::to_owned),
            at: Stage::Loading,
            has_called: false,
            failures: 0,
            polls: 0,
            tier: String::new(),
            credits: None,
            refusal: None,
        }
    }

    fn call(&mut self) -> Step {
        self.has_called = true;
        Step::Call(match &self.at {
            Stage::Checking(projects) => {
                let project = projects.last().map_or("", String::as_str);
                Call::get(format!("{SERVICE_USAGE}/{project}/services/{COMPANION}"))
            }
            Stage::Listing => Call::get(PROJECTS),
            Stage::Loading => Call::post(":loadCodeAssist", self.load_body().to_string()),
            Stage::Onboarding => Call::post(":onboardUser", self.onboard_body().to_string()),
            Stage::Polling(name) => Call::get(format!("/{name}")),
        })
    }

    #[expect(clippy::indexing_slicing, reason = "members of an object made here")]
    fn load_body(&self) -> Value {
        let mut body = json!({"metadata": metadata(self.service)});
        if let Some(project) = &self.project {
            body["cloudaicompanionProject"] = project.as_str().into();
            body["metadata"]["duetProject"] = project.as_str().into();
        }
        body
    }

    #[expect(clippy::indexing_slicing, reason = "members of an object made here")]
    fn onboard_body(&self) -> Value {
        let project = self.project.as_ref().filter(|_| self.tier != FREE);
        let mut body = match self.service {
            Service::GeminiCli => json!({"tierId": self.tier, "metadata": metadata(self.service)}),
            Service::Antigravity => json!({"tier_id": self.tier, "metadata": {
                "ide_type": "ANTIGRAVITY", "ide_version": ANTIGRAVITY_VERSION,
                "ide_name": "antigravity",
            }}),
        };
        if let Some(project) = project {
            body["cloudaicompanionProject"] = project.as_str().into();
            if self.service == Service::GeminiCli {
                body["metadata"]["duetProject"] = project.as_str().into();
            }
        }
        body
    }

    /// After `loadCodeAssist`.
    fn loaded(&mut self, answer: &Value) -> Step {
        self.credits = answer.pointer("/paidTier/availableCredits").cloned();
        let tier = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
        if let Some(current) = tier("/currentTier/id") {
            tier("/paidTier/id")
                .unwrap_or(current)
                .clone_into(&mut self.tier);
            let project = project_of(answer).or_else(|| self.project.clone());
            return match project {
                Some(project) => self.done(project),
                None if self.service == Service::Antigravity => {
                    current.clone_into(&mut self.tier);
                    self.onboard()
                }
                None => match refusal::of_tiers(answer) {
                    Some(failure) => Step::Refused(failure),
                    None => self.look_for_project("the account's licence comes without a project"),
                },
            };
        }
        if refusal::names(answer, "VALIDATION_REQUIRED")
            && let Some(failure) = refusal::of_tiers(answer).filter(|found| found.link.is_some())
        {
            return Step::Refused(failure);
        }
        if let (Service::Antigravity, Some(project)) = (self.service, project_of(answer)) {
            tier("/paidTier/id")
                .unwrap_or(STANDARD)
                .clone_into(&mut self.tier);
            return self.done(project);
        }
        self.choose_tier(answer)
    }

    /// Onboards with the tier that Google offers by default, if it offers any.
    fn choose_tier(&mut self, answer: &Value) -> Step {
        let allowed = answer.get("allowedTiers").and_then(Value::as_array);
        let allowed: &[Value] = allowed.map_or(&[], Vec::as_slice);
        let is = |tier: &Value, name: &str| tier.get(name) == Some(&Value::Bool(true));
        let default = allowed.iter().find(|tier| is(tier, "isDefault"));
        let id = |tier: &Value| tier.get("id").and_then(Value::as_str).map(str::to_owned);
        let needs_project =
            default.is_some_and(|tier| is(tier, "userDefinedCloudaicompanionProject"));
        let is_closed = refusal::names(answer, "UNSUPPORTED_CLIENT");
        let cannot = allowed.is_empty() || (is_closed && needs_project && self.project.is_none());
        if cannot && let Some(failure) = refusal::of_tiers(answer) {
            return Step::Refused(failure);
        }
        if needs_project && self.project.is_none() {
            let why = "the account's tier works only in a project of its owner's";
            return self.look_for_project(why);
        }
        let fallback = match self.service {
            Service::Antigravity => FREE,
            Service::GeminiCli => LEGACY,
        };
        self.tier = default.and_then(id).unwrap_or_else(|| fallback.to_owned());
        self.onboard()
    }

    fn onboard(&mut self) -> Step {
        self.at = Stage::Onboarding;
        self.failures = 0;
        self.call()
    }

    /// After `onboardUser`, and each time its operation was asked after.
    fn onboarded(&mut self, operation: &Value) -> Step {
        if let Some(error) = operation.get("error").filter(|error| error.is_object()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("");
            return Step::Refused(Failure::new(
                Verdict::ActionNeeded,
                format!("Google could not set the account up: {message}"),
            ));
        }
        if operation.get("done") == Some(&Value::Bool(true)) {
            let made = operation.get("response").and_then(project_of);
            return match made.or_else(|| self.project.clone()) {
                Some(project) => self.done(project),
                None => self.look_for_project("Google set the account up without a project"),
            };
        }
        self.polls += 1;
        if self.polls > MAX_POLLS {
            let message = "Google did not finish to set the account up";
            let verdict = Verdict::Transient(Fault::Timeout);
            return Step::Refused(Failure::new(verdict, message));
        }
        let name = operation.get("name").and_then(Value::as_str);
        // A name goes into a path: only what is one may stand there.
        let is_name = |name: &&str| {
            !name.is_empty()
                && !name.contains("..")
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c))
        };
        match name.filter(is_name) {
            Some(name) => {
                self.at = Stage::Polling(name.trim_matches('/').to_owned());
                Step::Pause(POLL_EVERY)
            }
            None => Step::Pause(REPEAT_EVERY),
        }
    }

    /// Looks once whether a project of the owner's may use the service already; else the owner must
    /// name one. Antigravity has no such projects.
    fn look_for_project(&mut self, why: &str) -> Step {
        let refusal = refusal::project_needed(why);
        if self.service == Service::Antigravity || self.refusal.is_some() {
            return Step::Refused(refusal);
        }
        self.refusal = Some(refusal);
        self.at = Stage::Listing;
        self.call()
    }

    /// After the list of projects.
    fn listed(&mut self, answer: &Value) -> Step {
        let projects = answer.get("projects").and_then(Value::as_array);
        let text = |project: &Value, name: &str| project.get(name)?.as_str().map(str::to_owned);
        let is_active = |project: &&Value| {
            text(project, "lifecycleState").is_none_or(|state| state == "ACTIVE")
        };
        // An id goes into a path: `example.com:proj-1` is the oddest there is.
        let is_id = |id: &String| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
            !id.is_empty() && !id.contains("..") && id.chars().all(is_plain)
        };
        let found = projects.into_iter().flatten().filter(is_active);
        let ids = found.filter_map(|project| text(project, "projectId"));
        let mut ids: Vec<String> = ids.filter(is_id).take(MAX_PROJECTS).collect();
        ids.reverse();
        self.check(ids)
    }

    /// After the word on the last of these projects: the first that may use the service is taken.
    fn checked(&mut self, mut projects: Vec<String>, answer: &Value) -> Step {
        let project = projects.pop();
        if answer.get("state").and_then(Value::as_str) != Some("ENABLED") {
            return self.check(projects);
        }
        self.project = project;
        self.at = Stage::Loading;
        self.call()
    }

    fn check(&mut self, projects: Vec<String>) -> Step {
        if projects.is_empty() {
            return self.found_none();
        }
        self.at = Stage::Checking(projects);
        self.call()
    }

    fn found_none(&self) -> Step {
        let refusal = self.refusal.clone();
        Step::Refused(refusal.unwrap_or_else(|| refusal::project_needed("there is no project")))
    }

    fn done(&mut self, project: String) -> Step {
        let mut extra = Map::new();
        extra.insert(PROJECT.to_owned(), project.into());
        if let Some(credits) = self.credits.take() {
            extra.insert(CREDITS.to_owned(), credits);
        }
        Step::Done(Facts {
            extra,
            tier: Some(std::mem::take(&mut self.tier)),
            email: None,
        })
    }

    /// After a failed call: again if that may help, else what it says of the account.
    fn failed(&mut self, answer: Option<&Answer<'_>>) -> Step {
        let status = answer.map_or(0, |answer| answer.status);
        match &mut self.at {
            Stage::Listing => return self.found_none(),
            Stage::Checking(projects) => {
                projects.pop();
                let left = std::mem::take(projects);
                return self.check(left);
            }
            Stage::Loading | Stage::Onboarding | Stage::Polling(_) => {}
        }
        if let (Stage::Polling(_), 404) = (&self.at, status) {
            // Some operations cannot be asked after, only begun again.
            self.at = Stage::Onboarding;
            return Step::Pause(REPEAT_EVERY);
        }
        if matches!(status, 0 | 408 | 429 | 499..) {
            self.failures += 1;
            if self.failures <= RETRIES {
                return Step::Pause(FIRST_WAIT * 2_u32.pow(self.failures - 1));
            }
            if let Some(project) = self.project.take() {
                // It can serve; its tier is only nice to know.
                UNKNOWN.clone_into(&mut self.tier);
                return self.done(project);
            }
        }
        let Some(answer) = answer else {
            let verdict = Verdict::Transient(Fault::Connect);
            let message = "the account cannot be set up: no answer";
            return Step::Refused(Failure::new(verdict, message));
        };
        let body = String::from_utf8_lossy(answer.body);
        if body.contains("SECURITY_POLICY_VIOLATED") {
            // VPC service controls hide the answer; such accounts have a licence.
            STANDARD.clone_into(&mut self.tier);
            return match self.project.clone() {
                Some(project) => self.done(project),
                None => Step::Refused(refusal::project_needed(
                    "the organisation's security policy hides the account's project",
                )),
            };
        }
        if answer.status == 403 && body.contains("cloudshell-gca") {
            return Step::Refused(refusal::project_needed(
                "the account's project is Cloud Shell's, which cannot be used",
            ));
        }
        Step::Refused(judge::by_signals(self.spec, answer))
    }
}

impl Bootstrap for FirstSteps {
    fn next(&mut self, answer: Option<&Answer<'_>>, _now: Timestamp) -> Step {
        let is_number =
            |project: &String| !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit());
        if self.project.as_ref().is_some_and(is_number) {
            let why = "a project's number was given where its id belongs";
            return Step::Refused(refusal::project_needed(why));
        }
        let was_called = std::mem::take(&mut self.has_called);
        let Some(answer) = answer else {
            return if was_called {
                self.failed(None)
            } else {
                self.call()
            };
        };
        if !(200..300).contains(&answer.status) {
            return self.failed(Some(answer));
        }
        let Ok(body) = serde_json::from_slice::<Value>(answer.body) else {
            return self.failed(None);
        };
        match &mut self.at {
            Stage::Checking(projects) => {
                let projects = std::mem::take(projects);
                self.checked(projects, &body)
            }
            Stage::Listing => self.listed(&body),
            Stage::Loading => self.loaded(&body),
            Stage::Onboarding | Stage::Polling(_) => self.onboarded(&body),
        }
    }
}

/// `cloudaicompanionProject`: a text, or an object with an `id`.
fn project_of(holder: &Value) -> Option<String> {
    let project = holder.get("cloudaicompanionProject")?;
    let id = project.as_str().or_else(|| project.get("id")?.as_str())?;
    (!id.trim().is_empty()).then(|| id.trim().to_owned())
}

#[cfg(test)]
mod tests;
