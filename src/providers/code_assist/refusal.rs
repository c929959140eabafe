//! Why Code Assist does not take an account: every reason it gives, and what that makes of the
//! credential.

use serde_json::Value;

use crate::providers::verdict::{Failure, Verdict};

/// What a reason means. The vendor's list is open: [`OTHERS`] stands for what is not in it.
#[derive(Clone, Copy)]
struct Reason {
    /// `reasonCode`, as gemini-cli's types have it and as seen live (wire-format notes, read
    /// 2026-11-22).
    code: &'static str,
    verdict: Verdict,
    /// What the owner is told beside the vendor's own sentence.
    told: &'static str,
}

const REASONS: &[Reason] = &[
    Reason {
        code: "DASHER_USER",
        verdict: Verdict::ActionNeeded,
        told: "a Google Workspace account needs a project of its own: \
               `llmproxy creds add … --project ID`",
    },
    Reason {
        code: "INELIGIBLE_ACCOUNT",
        verdict: Verdict::Dead,
        told: "Google does not offer this service to this account",
    },
    Reason {
        code: "NON_USER_ACCOUNT",
        verdict: Verdict::Dead,
        told: "this is no account of a person",
    },
    Reason {
        code: "RESTRICTED_AGE",
        verdict: Verdict::Dead,
        told: "Google thinks the owner too young",
    },
    Reason {
        code: "RESTRICTED_NETWORK",
        verdict: Verdict::ActionNeeded,
        told: "Google does not serve this network",
    },
    Reason {
        code: "UNKNOWN_LOCATION",
        verdict: Verdict::ActionNeeded,
        told: "Google cannot tell in which country this machine is",
    },
    // Since 2026-06-18 for all accounts without a licence of an organisation.
    Reason {
        code: "UNSUPPORTED_CLIENT",
        verdict: Verdict::Dead,
        told: "Google no longer serves accounts of this kind through this client",
    },
    Reason {
        code: "UNSUPPORTED_LOCATION",
        verdict: Verdict::ActionNeeded,
        told: "Google does not offer this service in the country of this machine",
    },
    Reason {
        code: "VALIDATION_REQUIRED",
        verdict: Verdict::ActionNeeded,
        told: "Google wants the owner to verify the account",
    },
];

const OTHERS: Reason = Reason {
    code: "UNKNOWN",
    verdict: Verdict::ActionNeeded,
    told: "Google does not offer this service to this account now",
};

/// The refusal in an answer's `ineligibleTiers`, the one that asks the owner for something first;
/// `None` if it names none.
pub(super) fn of_tiers(answer: &Value) -> Option<Failure> {
    let tiers = answer.get("ineligibleTiers")?.as_array()?;
    let asks = |tier: &&Value| code(tier) == "VALIDATION_REQUIRED" && link(tier).is_some();
    let tier = tiers.iter().find(asks).or(tiers.first())?;
    Some(of_tier(tier))
}

/// `true` if a tier is refused for this reason.
pub(super) fn names(answer: &Value, reason: &str) -> bool {
    let tiers = answer.get("ineligibleTiers").and_then(Value::as_array);
    tiers.into_iter().flatten().any(|tier| code(tier) == reason)
}

/// The account needs a project that its owner must name.
pub(super) fn project_needed(why: &str) -> Failure {
    Failure::new(
        Verdict::ActionNeeded,
        format!(
            "{why}: name a Google Cloud project of the account's with \
             `llmproxy creds add … --project ID` or `project` in the provider's `oauth` section"
        ),
    )
}

fn of_tier(tier: &Value) -> Failure {
    let code = code(tier);
    let reason = REASONS
        .iter()
        .find(|reason| reason.code == code)
        .unwrap_or(&OTHERS);
    let shown = if code.is_empty() { OTHERS.code } else { code };
    let own = text(tier, "validationErrorMessage").or_else(|| text(tier, "reasonMessage"));
    let message = match own {
        Some(own) => format!(
            "{}: {} (Google says: {own})",
            shown.to_lowercase(),
            reason.told
        ),
        None => format!("{}: {}", shown.to_lowercase(), reason.told),
    };
    Failure {
        link: link(tier).map(str::to_owned),
        ..Failure::new(reason.verdict, message)
    }
}

fn code(tier: &Value) -> &str {
    text(tier, "reasonCode").unwrap_or_default()
}

fn link(tier: &Value) -> Option<&str> {
    text(tier, "validationUrl")
        .or_else(|| text(tier, "validationLearnMoreUrl"))
        .filter(|url| url.starts_with("https://"))
}

fn text<'v>(holder: &'v Value, name: &str) -> Option<&'v str> {
    holder.get(name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(code: &str) -> Failure {
        let answer = json!({"ineligibleTiers": [{"reasonCode": code, "reasonMessage": "own words",
            "tierId": "free-tier"}]});
        of_tiers(&answer).expect("a refusal")
    }

    #[test]
    fn each_reason_makes_something_of_the_account() {
        for (code, verdict) in [
            ("DASHER_USER", Verdict::ActionNeeded),
            ("INELIGIBLE_ACCOUNT", Verdict::Dead),
            ("NON_USER_ACCOUNT", Verdict::Dead),
            ("RESTRICTED_AGE", Verdict::Dead),
            ("RESTRICTED_NETWORK", Verdict::ActionNeeded),
            ("UNKNOWN", Verdict::ActionNeeded),
            ("UNKNOWN_LOCATION", Verdict::ActionNeeded),
            ("UNSUPPORTED_CLIENT", Verdict::Dead),
            ("UNSUPPORTED_LOCATION", Verdict::ActionNeeded),
            ("VALIDATION_REQUIRED", Verdict::ActionNeeded),
            ("A_REASON_OF_TOMORROW", Verdict::ActionNeeded),
        ] {
            let failure = refused(code);
            assert_eq!(failure.verdict, verdict, "{code}");
            assert!(failure.message.starts_with(&code.to_lowercase()));
            assert!(failure.message.contains("own words"));
        }
    }

    #[test]
    fn a_page_to_open_goes_before_other_reasons() {
        let answer = json!({"ineligibleTiers": [
            {"reasonCode": "UNKNOWN", "tierId": "a"},
            {"reasonCode": "VALIDATION_REQUIRED", "validationErrorMessage": "verify",
             "validationUrl": "https://accounts.google.com/v"},
        ]});
        let failure = of_tiers(&answer).expect("a refusal");
        assert_eq!(
            failure.link.as_deref(),
            Some("https://accounts.google.com/v")
        );
        assert!(names(&answer, "UNKNOWN") && !names(&answer, "DASHER_USER"));
        assert_eq!(of_tiers(&json!({"ineligibleTiers": []})), None);
        assert_eq!(of_tiers(&json!({})), None);
    }
}
