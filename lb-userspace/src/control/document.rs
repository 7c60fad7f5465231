//! The OpenAPI document (OpenAPI 3.1.0): the list of operations in the form that other programs read.

use std::sync::Arc;

use serde_json::Value;
use utoipa::openapi::path::{OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, Required,
    ResponseBuilder,
};

use super::api::Problem;
use super::failure::Failure;
use super::operation::{Described, Media, Operation};
use super::routes::{Access, operations};
use super::server::Shared;

const DESCRIPTION: &str = "The API of lb, an XDP load balancer: HTTP on the socket `director.control_socket`, \
for root, and what changes nothing and reveals no secret also at `director.http`, for whoever reaches it; weights \
are changed there by administrators, if `director.http_admin_file` says so. \
Requests are checked as the configuration file is. A connection serves one request.";

/// `GET /v1/openapi.json`.
pub(super) async fn described(shared: Arc<Shared>) -> Result<Value, Failure> {
    let document = serde_json::to_value(document(shared.access, shared.is_administered()));
    document.map_err(|error| Failure::bad_request(error.to_string()))
}

/// What there is for those who are served so.
pub(super) fn document(access: Access, is_administered: bool) -> OpenApi {
    let mut components = ComponentsBuilder::new();
    let mut paths = PathsBuilder::new();
    let problem = Described::of::<Problem>();
    components = components.schemas_from_iter(problem.schemas);
    let allowed = |operation: &Operation| access.allows(operation.effect, is_administered);
    for operation in operations().into_iter().filter(allowed) {
        let (path, method) = (operation.path, operation.method.clone());
        let (described, schemas) = describe(operation, &problem.name);
        paths = paths.path(path, PathItem::new(method, described));
        components = components.schemas_from_iter(schemas);
    }
    let info = InfoBuilder::new()
        .title("lb")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

type Schemas = Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>;

fn describe(operation: Operation, problem: &str) -> (OperationBuilder, Schemas) {
    let refer = |name: &str| Some(Ref::from_schema_name(name));
    let Operation { summary, parameters, question, answer, media, .. } = operation;
    let mut schemas = answer.schemas;
    let lines = match media {
        Media::Json | Media::OpenMetrics => "What was asked for.",
        Media::Lines => {
            "What was asked for: an object of this schema on each line. Empty lines mean nothing."
        }
        Media::Events => "Server-sent events, whose data are objects of this schema.",
    };
    let done = ResponseBuilder::new()
        .description(lines)
        .content(media.name(), ContentBuilder::new().schema(refer(&answer.name)).build());
    let failed = ResponseBuilder::new()
        .description("Why not.")
        .content(Media::Json.name(), ContentBuilder::new().schema(refer(problem)).build());
    let mut described = OperationBuilder::new()
        .summary(Some(summary))
        .response("200", done.build())
        .response("default", failed.build());
    if !parameters.is_empty() {
        described = described.parameters(Some(parameters));
    }
    if let Some(question) = question {
        let content = ContentBuilder::new().schema(refer(&question.name)).build();
        let body =
            RequestBodyBuilder::new().content(Media::Json.name(), content).required(Some(Required::True));
        described = described.request_body(Some(body.build()));
        schemas.extend(question.schemas);
    }
    (described, schemas)
}
