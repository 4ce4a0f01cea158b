//! What a service needs to be part of a stack: the bounds, as traits with names that the compiler can explain.

use std::future::Future;

use bytes::{Buf, Bytes};
use http_body::Body as HttpBody;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Deserializer};
use tower::Service;

use crate::{BoxError, Problem, Request};

/// A tower service for a stack: it takes a [`Request`] and gives a response with any body type and any error type.
///
/// It is implemented for all services with these bounds.
pub trait StackService:
    Service<Request, Response = http::Response<Self::ResponseBody>, Error: IntoProblem, Future: Future + Send + 'static>
    + CloneService
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type ResponseBody: AnyBody;
}

impl<S, B> StackService for S
where
    S: Service<Request, Response = http::Response<B>, Error: IntoProblem, Future: Send + 'static> + CloneService + Send + Sync + 'static,
    B: AnyBody,
{
    type ResponseBody = B;
}

/// Any body that [`Body::new`](crate::Body::new) takes.
pub trait AnyBody: HttpBody<Data: Into<Bytes> + Buf, Error: Into<BoxError>> + Send + 'static {}

impl<B: HttpBody<Data: Into<Bytes> + Buf, Error: Into<BoxError>> + Send + 'static> AnyBody for B {}

/// `Clone`, which every service of a stack is.
#[diagnostic::on_unimplemented(
    message = "the service `{Self}` is not `Clone`",
    label = "this stack calls `{Self}`, which is not `Clone`",
    note = "each request goes through a clone of the service: write `#[derive(Clone)]` above it, and keep what all requests share in an `Arc`",
    note = "a service that cannot be `Clone` needs `tower::buffer::BufferLayer` above it, which is bounded"
)]
pub trait CloneService: Clone {}

#[diagnostic::do_not_recommend]
impl<S: Clone> CloneService for S {}

/// An error that a stack can respond with: a [`Problem`] as it says, and any other error with 500 and its message in the log.
#[diagnostic::on_unimplemented(
    message = "a stack has no answer for the error `{Self}`",
    label = "this stack calls a service that fails with `{Self}`",
    note = "the error of a service is `Infallible`, `ziggurat`'s `Problem`, or any other `std::error::Error + Send + Sync + 'static`, boxed or not"
)]
pub trait IntoProblem: 'static {
    /// The response, and the cause for the log.
    fn into_problem(self) -> Problem;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError> + 'static> IntoProblem for E {
    fn into_problem(self) -> Problem {
        match self.into().downcast::<Problem>() {
            Ok(problem) => *problem,
            Err(error) => Problem::internal(error),
        }
    }
}

/// A struct that can be read from the pipeline file and described in its schema. It is implemented for `DeserializeOwned + JsonSchema + Send`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a pipeline file",
    label = "the options of a layer or an app are read from the file",
    note = "write `#[derive(Deserialize, JsonSchema)]` above `{Self}`; both macros are in the prelude, and the crates `serde` and `schemars` \
            have to be among the dependencies"
)]
pub trait Options: Sized + Send + 'static {
    /// Reads them, as [`DeserializeOwned`] does.
    ///
    /// # Errors
    ///
    /// Why the input is not valid.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Describes them, as [`JsonSchema`] does: the schema, or a reference to it among the generator's definitions.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

// If these were super-traits of `Options`, the compiler would name them and not `Options`.
#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema + Send + 'static> Options for T {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}
