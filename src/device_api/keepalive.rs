//! The sign of life of the SDK's libcoap port: a DELETE of nothing, every nine idle seconds. The Zephyr port's, an
//! empty message, is answered below this layer.

use crate::coap::{Code, Reply};

/// Deletes nothing, as asked.
pub fn answer(reply: &mut Reply<'_>) {
    reply.code(Code::DELETED);
}
