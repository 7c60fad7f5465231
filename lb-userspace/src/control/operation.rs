//! An operation of the API: where it is, what goes in, what comes out, and who answers. A handler is an ordinary
//! function of its question that returns its answer, so what the document says of an operation are the handler's types.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request, State as Extract};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use cookie::Cookie;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{HttpMethod, Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};

use super::admin::{Administrator, Asker};
use super::failure::Failure;
use super::request::{Size, read};
use super::server::Shared;

/// An operation.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: HttpMethod,
    /// What it does, as the document says.
    pub(super) summary: &'static str,
    pub(super) effect: Effect,
    pub(super) parameters: Vec<Parameter>,
    /// What has to be sent.
    pub(super) question: Option<Described>,
    pub(super) answer: Described,
    pub(super) media: Media,
    pub(super) route: MethodRouter<Arc<Shared>>,
}

/// What an operation does besides answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Reads,
    /// Nothing, but not everybody may see what it answers, or ask so much.
    Reveals,
    /// It changes something.
    Changes,
    /// It changes something that administrators at `director.http` may change too: the only ones are a drain and other
    /// changes of a weight.
    Administers,
    /// Something about who asks, at `director.http`.
    Proves,
}

/// An answer for one client only.
pub(super) struct Personal<A> {
    /// By what their browser shows next time who they are.
    pub(super) cookie: Option<Cookie<'static>>,
    pub(super) answer: A,
}

impl<A: Serialize> IntoResponse for Personal<A> {
    fn into_response(self) -> Response {
        let mut response = Json(self.answer).into_response();
        if let Some(cookie) = self.cookie.and_then(|cookie| HeaderValue::try_from(cookie.to_string()).ok()) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// One JSON value.
    Json,
    /// A JSON object on each line, as they come. Empty lines mean nothing.
    Lines,
    /// Metrics, as text.
    OpenMetrics,
    /// Server-sent events, whose data are JSON objects.
    Events,
}

impl Media {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Events => "text/event-stream",
        }
    }
}

/// A type, as the document has it.
pub(super) struct Described {
    pub(super) name: String,
    /// It, and all that it is made of.
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

impl Described {
    pub(super) fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut schemas = vec![(name.clone(), T::schema())];
        T::schemas(&mut schemas);
        Self { name, schemas }
    }
}

/// What the query of a request asks for.
fn query<Q: DeserializeOwned>(uri: &Uri) -> Result<Q, Failure> {
    let asked = Query::try_from_uri(uri);
    asked.map(|Query(asked)| asked).map_err(|rejection| Failure::bad_request(rejection.body_text()))
}

impl Operation {
    /// One that answers.
    pub(super) fn get<A, R>(path: &'static str, summary: &'static str, answer: fn(Arc<Shared>) -> R) -> Self
    where
        A: Serialize + ToSchema,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let route =
            get(move |Extract(shared): Extract<Arc<Shared>>| async move { answer(shared).await.map(Json) });
        Self::new(HttpMethod::Get, path, summary, Described::of::<A>(), route)
    }

    /// One that answers, and takes a query.
    pub(super) fn query<A, Q, R>(
        path: &'static str,
        summary: &'static str,
        answer: fn(Arc<Shared>, Q) -> R,
    ) -> Self
    where
        A: Serialize + ToSchema,
        Q: DeserializeOwned + IntoParams + Send + 'static,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let route = get(move |Extract(shared): Extract<Arc<Shared>>, uri: Uri| async move {
            answer(shared, query(&uri)?).await.map(Json)
        });
        let parameters = Q::into_params(|| Some(ParameterIn::Query));
        Self { parameters, ..Self::new(HttpMethod::Get, path, summary, Described::of::<A>(), route) }
    }

    /// One that answers with lines, each of them an `A`, and takes a query.
    pub(super) fn lines<A, Q, R>(
        path: &'static str,
        summary: &'static str,
        answer: fn(Arc<Shared>, Q) -> R,
    ) -> Self
    where
        A: ToSchema,
        Q: DeserializeOwned + IntoParams + Send + 'static,
        R: Future<Output = Result<Body, Failure>> + Send + 'static,
    {
        Self::stream::<A, Q, R>(path, summary, Media::Lines, answer)
    }

    /// One that answers with `A` after `A`, in the form of this medium, and takes a query.
    pub(super) fn stream<A, Q, R>(
        path: &'static str,
        summary: &'static str,
        media: Media,
        answer: fn(Arc<Shared>, Q) -> R,
    ) -> Self
    where
        A: ToSchema,
        Q: DeserializeOwned + IntoParams + Send + 'static,
        R: Future<Output = Result<Body, Failure>> + Send + 'static,
    {
        let route = get(move |Extract(shared): Extract<Arc<Shared>>, uri: Uri| async move {
            let stream = answer(shared, query(&uri)?).await?;
            Ok::<_, Failure>(([(CONTENT_TYPE, media.name())], stream))
        });
        let parameters = Q::into_params(|| Some(ParameterIn::Query));
        let new = Self::new(HttpMethod::Get, path, summary, Described::of::<A>(), route);
        Self { parameters, media, ..new }
    }

    /// One that answers with text, which the document describes as an `A`.
    pub(super) fn text<A, R>(
        path: &'static str,
        summary: &'static str,
        media: Media,
        answer: fn(Arc<Shared>) -> R,
    ) -> Self
    where
        A: ToSchema,
        R: Future<Output = Result<String, Failure>> + Send + 'static,
    {
        let route = get(move |Extract(shared): Extract<Arc<Shared>>| async move {
            answer(shared).await.map(|text| ([(CONTENT_TYPE, media.name())], text))
        });
        Self { media, ..Self::new(HttpMethod::Get, path, summary, Described::of::<A>(), route) }
    }

    /// One that answers a question which does not fit into a path.
    pub(super) fn ask<Q, A, R>(
        path: &'static str,
        summary: &'static str,
        answer: fn(Arc<Shared>, Q) -> R,
    ) -> Self
    where
        Q: DeserializeOwned + ToSchema + Send + 'static,
        A: Serialize + ToSchema,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let route = post(move |Extract(shared): Extract<Arc<Shared>>, request: Request| async move {
            let sent = read(request, Size::Small, &shared.turns, &shared.limits).await?;
            answer(shared, sent.asked).await.map(Json)
        });
        let new = Self::new(HttpMethod::Post, path, summary, Described::of::<A>(), route);
        Self { question: Some(Described::of::<Q>()), effect: Effect::Reveals, ..new }
    }

    /// One that changes something, in its turn.
    pub(super) fn change<Q, A, R>(
        path: &'static str,
        summary: &'static str,
        size: Size,
        answer: fn(Arc<Shared>, Q) -> R,
    ) -> Self
    where
        Q: DeserializeOwned + ToSchema + Send + 'static,
        A: Serialize + ToSchema,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        Self::changing(path, summary, size, move |shared, _, asked| answer(shared, asked))
    }

    /// The same for administrators too, of whom it is told.
    pub(super) fn administer<Q, A, R>(
        path: &'static str,
        summary: &'static str,
        answer: fn(Arc<Shared>, Option<Administrator>, Q) -> R,
    ) -> Self
    where
        Q: DeserializeOwned + ToSchema + Send + 'static,
        A: Serialize + ToSchema,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let effect = Effect::Administers;
        Self { effect, ..Self::changing(path, summary, Size::Small, answer) }
    }

    fn changing<Q, A, R>(
        path: &'static str,
        summary: &'static str,
        size: Size,
        answer: impl Fn(Arc<Shared>, Option<Administrator>, Q) -> R + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Q: DeserializeOwned + ToSchema + Send + 'static,
        A: Serialize + ToSchema,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let route = post(move |Extract(shared): Extract<Arc<Shared>>, mut request: Request| async move {
            let administrator = request.extensions_mut().remove::<Administrator>();
            let sent = read(request, size, &shared.turns, &shared.limits).await?;
            let _turn = shared.turns.change(&shared.limits).await?;
            let done = answer(Arc::clone(&shared), administrator, sent.asked).await;
            drop(sent.permit);
            done.map(Json)
        });
        let new = Self::new(HttpMethod::Post, path, summary, Described::of::<A>(), route);
        Self { question: Some(Described::of::<Q>()), effect: Effect::Changes, ..new }
    }

    /// One about whoever asks.
    pub(super) fn of_asker<A, R>(
        method: HttpMethod,
        path: &'static str,
        summary: &'static str,
        answer: fn(Arc<Shared>, Asker) -> R,
    ) -> Self
    where
        A: Serialize + ToSchema,
        R: Future<Output = Result<Personal<A>, Failure>> + Send + 'static,
    {
        let route = move |Extract(shared): Extract<Arc<Shared>>, request: Request| {
            answer(shared, Asker::of(&request))
        };
        let route = match method {
            HttpMethod::Delete => delete(route),
            _ => get(route),
        };
        Self { effect: Effect::Proves, ..Self::new(method, path, summary, Described::of::<A>(), route) }
    }

    /// One for whoever says who they are.
    pub(super) fn prove<Q, A, R>(
        path: &'static str,
        summary: &'static str,
        answer: fn(Arc<Shared>, Asker, Q) -> R,
    ) -> Self
    where
        Q: DeserializeOwned + ToSchema + Send + 'static,
        A: Serialize + ToSchema,
        R: Future<Output = Result<Personal<A>, Failure>> + Send + 'static,
    {
        let route = post(move |Extract(shared): Extract<Arc<Shared>>, request: Request| async move {
            let asker = Asker::of(&request);
            let sent = read(request, Size::Small, &shared.turns, &shared.limits).await?;
            answer(shared, asker, sent.asked).await
        });
        let new = Self::new(HttpMethod::Post, path, summary, Described::of::<A>(), route);
        Self { question: Some(Described::of::<Q>()), effect: Effect::Proves, ..new }
    }

    /// One that changes something and needs to be told nothing.
    pub(super) fn order<A, R>(path: &'static str, summary: &'static str, answer: fn(Arc<Shared>) -> R) -> Self
    where
        A: Serialize + ToSchema,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let route = post(move |Extract(shared): Extract<Arc<Shared>>| async move {
            let _turn = shared.turns.change(&shared.limits).await?;
            answer(Arc::clone(&shared)).await.map(Json)
        });
        let new = Self::new(HttpMethod::Post, path, summary, Described::of::<A>(), route);
        Self { effect: Effect::Changes, ..new }
    }

    /// The same for those only who may see everything.
    pub(super) fn revealing(self) -> Self {
        Self { effect: Effect::Reveals, ..self }
    }

    fn new(
        method: HttpMethod,
        path: &'static str,
        summary: &'static str,
        answer: Described,
        route: MethodRouter<Arc<Shared>>,
    ) -> Self {
        let (effect, media) = (Effect::Reads, Media::Json);
        Self { path, method, summary, effect, parameters: Vec::new(), question: None, answer, media, route }
    }

    /// The method, as a request has it.
    #[cfg(test)]
    pub(super) fn method_name(&self) -> &'static str {
        match self.method {
            HttpMethod::Post => "POST",
            HttpMethod::Delete => "DELETE",
            _ => "GET",
        }
    }

    /// The same where it is not allowed.
    pub(super) fn forbidden(&self) -> MethodRouter<Arc<Shared>> {
        let refuse = || async { Failure::read_only() };
        match self.method {
            HttpMethod::Post => post(refuse),
            _ => get(refuse),
        }
    }
}
