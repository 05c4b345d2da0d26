//! What callers are told when something is wrong.

use std::borrow::Cow;

use hyper::header::HeaderValue;

use super::{ALLOW, Answer, StatusCode, WWW_AUTHENTICATE, json};
use crate::backend::words::Failure;
use crate::count::{Code, Label};

/// A refusal.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: Code,
    message: Cow<'static, str>,
    /// The method that would be right.
    allow: Option<&'static str>,
}

impl Code {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound | Self::NoHistory => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdempotencyConflict | Self::InProgress | Self::BadConfiguration | Self::Full => {
                StatusCode::CONFLICT
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Unavailable | Self::NotEverywhere => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            allow: None,
        }
    }

    pub(crate) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        Self {
            code: Code::MethodNotAllowed,
            message: format!("{allow} only").into(),
            allow: Some(allow),
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn body(&self) -> Failure {
        Failure::new(self.code.label(), &*self.message)
    }

    pub(super) fn answer(&self) -> Answer {
        let mut answer = json(self.code.status(), self.body().to_json().into());
        if let Some(allow) = self.allow {
            let allow = HeaderValue::from_static(allow);
            answer.headers_mut().insert(ALLOW, allow);
        }
        if self.code == Code::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}
