//! One order, from its first request to the certificate: a state machine over the states that RFC 8555 section 7.1.6 gives it.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, Error, Identifier, NewOrder, Order as DirectoryOrder,
    OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::{Instant, sleep};

use super::account::on_disk;
use super::challenges::{Challenge, is_token};
use super::client::{DirectoryClient, is_no_response};
use super::failure::{Failure, FailureKind, type_of, with_nonce_retries, words};
use super::store::{ChallengeRecord, Store};

/// What to order.
pub(super) struct Order<'a> {
    pub(super) name: &'a str,
    pub(super) challenge: Challenge,
    /// The certificate that the new one takes the place of (RFC 9773 section 5), if the same account ordered it.
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    pub(super) store: &'a Store,
    pub(super) http: &'a DirectoryClient,
}

/// What was got, in PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Leave answers to challenges, and tell the authority.
    Answer,
    Wait,
    /// Send the certificate signing request.
    Finalize,
    Download,
    Fail,
}

/// The longest time from the order to the certificate.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Between two questions about the state of an order.
const FIRST_POLL: Duration = Duration::from_millis(250);
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// The longest `Retry-After` that is waited for within an order.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A state may be reported late, so what was done once is waited for.
const fn step(status: OrderStatus, has_answered: bool, has_finalized: bool) -> Step {
    match status {
        OrderStatus::Pending if !has_answered => Step::Answer,
        OrderStatus::Ready if !has_finalized => Step::Finalize,
        OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing => Step::Wait,
        OrderStatus::Valid if has_finalized => Step::Download,
        OrderStatus::Valid | OrderStatus::Invalid => Step::Fail,
    }
}

impl Order<'_> {
    /// Orders and waits. Answers to challenges are gone from the store when this ends, however it does.
    pub(super) async fn obtain(&self, account: &Account) -> Result<Issued, Failure> {
        let deadline = Instant::now() + ORDER_TIMEOUT;
        let mut order = self.place(account).await?;
        let mut answers: Option<Vec<Answer>> = None;
        let mut key: Option<KeyPair> = None;
        let mut poll = FIRST_POLL;
        loop {
            let status = order.state().status;
            match step(status, answers.is_some(), key.is_some()) {
                Step::Answer => answers = Some(self.answer(&mut order).await?),
                Step::Finalize => key = Some(self.finalize(&mut order).await?),
                Step::Download => {
                    let chain = with_nonce_retries!(order.certificate()).map_err(|error| self.failure(&error, FailureKind::Order))?;
                    let (Some(chain), Some(key)) = (chain, key) else {
                        return Err(Failure::new(FailureKind::Order, "the order is valid and has no certificate"));
                    };
                    return Ok(Issued { chain, key: key.serialize_pem() });
                }
                Step::Fail => return Err(self.reason(&mut order).await),
                Step::Wait => {
                    let wait = self.http.last().retry_after.map_or(poll, |time| time.clamp(FIRST_POLL, LONGEST_WAIT));
                    if Instant::now() + wait > deadline {
                        return Err(self.overdue(status));
                    }
                    sleep(wait).await;
                    poll = (poll * 2).min(LONGEST_POLL);
                    with_nonce_retries!(refresh(&mut order)).map_err(|error| self.failure(&error, FailureKind::Order))?;
                }
            }
        }
    }

    /// Places the order. If the directory refuses what it is to replace, once more without.
    async fn place(&self, account: &Account) -> Result<DirectoryOrder, Failure> {
        let names = [Identifier::Dns(self.name.to_owned())];
        if let Some(replaces) = &self.replaces {
            let new = NewOrder::new(&names).replaces(replaces.clone());
            match with_nonce_retries!(account.new_order(&new)) {
                Ok(order) => return Ok(order),
                Err(error) if !is_about_replacing(&error, self.http.last().status) => return Err(self.failure(&error, FailureKind::Order)),
                Err(error) => tracing::info!(name = self.name, "the order is placed without the certificate that it replaces: {error}"),
            }
        }
        let new = NewOrder::new(&names);
        with_nonce_retries!(account.new_order(&new)).map_err(|error| self.failure(&error, FailureKind::Order))
    }

    /// Leaves answers for all authorizations that wait for one.
    async fn answer(&self, order: &mut DirectoryOrder) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::new();
        with_nonce_retries!(fetch_authorizations(order)).map_err(|error| self.failure(&error, FailureKind::Order))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failure(&error, FailureKind::Order))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => {
                    let message = format!("the authorization is {status:?} before any challenge was met");
                    return Err(Failure::new(FailureKind::Validation, message));
                }
            }
            let offered: Vec<String> = authorization.challenges.iter().map(|offer| format!("{:?}", offer.r#type)).collect();
            let Some(mut offer) = authorization.challenge(self.challenge.kind()) else {
                let message = format!("the authority offers no {} for this name, but {}", self.challenge.as_str(), offered.join(", "));
                return Err(Failure::new(FailureKind::Order, message));
            };
            if !is_token(&offer.token) {
                return Err(Failure::new(FailureKind::Order, "the token of the challenge is not base64url"));
            }
            let authorization = offer.key_authorization();
            let answer = match self.challenge {
                Challenge::Http01 => authorization.as_str().to_owned(),
                Challenge::TlsAlpn01 => authorization.dns_value(),
            };
            let record = ChallengeRecord { challenge: self.challenge, name: self.name.to_owned(), token: offer.token.clone(), answer };
            let (store, kept) = (self.store.clone(), record.clone());
            on_disk(move || store.put_challenge(&kept)).await?;
            answers.push(Answer { store: self.store.clone(), record });
            with_nonce_retries!(offer.set_ready()).map_err(|error| self.failure(&error, FailureKind::Validation))?;
        }
        with_nonce_retries!(refresh(order)).map_err(|error| self.failure(&error, FailureKind::Order))?;
        Ok(answers)
    }

    /// Sends a request for a certificate with a new key.
    async fn finalize(&self, order: &mut DirectoryOrder) -> Result<KeyPair, Failure> {
        let cannot = |error: rcgen::Error| Failure::new(FailureKind::Order, format!("cannot make a key: {error}"));
        let key = KeyPair::generate().map_err(cannot)?;
        let mut params = CertificateParams::new(vec![self.name.to_owned()]).map_err(cannot)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(cannot)?;
        with_nonce_retries!(order.finalize_csr(request.der())).map_err(|error| self.failure(&error, FailureKind::Order))?;
        Ok(key)
    }

    /// Why an order is invalid: what the challenges say, and else what the order says.
    async fn reason(&self, order: &mut DirectoryOrder) -> Failure {
        let of_order = order.state().error.as_ref().map(words);
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if with_nonce_retries!(refresh_authorization(&mut authorization)).is_ok() {
                reasons.extend(authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref()).map(words));
            }
        }
        match (reasons.is_empty(), of_order) {
            (false, _) => Failure::new(
                FailureKind::Validation,
                format!("the challenge {} was not met: {}", self.challenge.as_str(), reasons.join("; ")),
            ),
            (true, Some(reason)) => Failure::new(FailureKind::Order, reason),
            (true, None) => Failure::new(FailureKind::Order, "the order is invalid, and the directory gives no reason"),
        }
    }

    fn overdue(&self, status: OrderStatus) -> Failure {
        let (kind, what) = match status {
            OrderStatus::Pending => (FailureKind::Validation, "has not validated the name"),
            _ => (FailureKind::Order, "has not issued the certificate"),
        };
        let message = format!("the authority {what} within {} min", ORDER_TIMEOUT.as_secs() / 60);
        Failure { retry_after: self.http.last().retry_after, ..Failure::new(kind, message) }
    }

    fn failure(&self, error: &Error, kind: FailureKind) -> Failure {
        Failure::of(error, kind, self.http.last())
    }
}

/// The order keeps them, so that they are not asked for again.
async fn fetch_authorizations(order: &mut DirectoryOrder) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

async fn refresh_authorization(authorization: &mut AuthorizationHandle<'_>) -> Result<(), Error> {
    authorization.refresh().await.map(drop)
}

async fn refresh(order: &mut DirectoryOrder) -> Result<(), Error> {
    order.refresh().await.map(drop)
}

/// Whether an order was refused for a reason that may lie in what it replaces. Directories give different ones.
fn is_about_replacing(error: &Error, status: u16) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Api(problem) => {
            status < 500 && status != 429 && !matches!(type_of(problem), "rateLimited" | "accountDoesNotExist" | "badNonce")
        }
        Error::Other(_) => !is_no_response(error),
        _ => false,
    }
}

/// An answer in the store, until it is dropped.
struct Answer {
    store: Store,
    record: ChallengeRecord,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.store.remove_challenge(&self.record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_an_order_has_its_step() {
        use OrderStatus::{Invalid, Pending, Processing, Ready, Valid};
        assert_eq!(step(Pending, false, false), Step::Answer);
        assert_eq!(step(Pending, true, false), Step::Wait);
        assert_eq!(step(Ready, false, false), Step::Finalize, "every authorization was valid already");
        assert_eq!(step(Ready, true, true), Step::Wait, "the directory is slow to see the request");
        assert_eq!(step(Processing, true, true), Step::Wait);
        assert_eq!(step(Valid, true, true), Step::Download);
        assert_eq!(step(Valid, false, false), Step::Fail, "an earlier order, whose key nobody has");
        assert_eq!(step(Invalid, true, false), Step::Fail);
    }
}
