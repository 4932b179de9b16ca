//! `/livez` and `/readyz`, for supervisors and load balancers.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use redis_consumer_group::{Figures, State};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is dropped. `ready` returns the state of the group, or why it cannot work now.
pub async fn serve(
    listener: TcpListener,
    ready: impl Fn() -> Result<String, String> + Clone + Send + Sync + 'static,
) {
    // The connections end with this function.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors, or the client closed before the accept: the next one may work.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let ready = ready.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let (status, text) = answer(request.uri().path(), &ready);
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            std::future::ready(Ok::<_, Infallible>(response))
        });
        connections.spawn(async move {
            // Errors of a client do not concern the service.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// What `/readyz` says of a group: its ledger, or why it cannot work now.
pub fn readiness(group: &Figures) -> Result<String, String> {
    match &group.state {
        State::Connected => Ok(group.ledger.to_string()),
        State::Disconnected { since, cause, .. } => {
            Err(format!("disconnected for {:.0?}: {cause}", since.elapsed()))
        }
        State::Degraded { since, problem, cause, .. } => {
            Err(format!("{problem} for {:.0?}: {cause}", since.elapsed()))
        }
        _ => Err("stopping".to_owned()),
    }
}

fn answer(path: &str, ready: &impl Fn() -> Result<String, String>) -> (StatusCode, String) {
    match path {
        // Does not ask Redis: restarting this service would not repair Redis.
        "/livez" => (StatusCode::OK, "alive".to_owned()),
        "/readyz" => match ready() {
            Ok(text) => (StatusCode::OK, text),
            Err(cause) => (StatusCode::SERVICE_UNAVAILABLE, cause),
        },
        _ => (StatusCode::NOT_FOUND, "there are /livez and /readyz".to_owned()),
    }
}
