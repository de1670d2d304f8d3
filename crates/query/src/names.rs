//! Resource names: `tenants/{tenant}/contacts/{contact_id}`; `/` and `%` inside a part are percent-encoded.

use crate::error;
use tonic::Status;
use touchline_model::id::ContactId;
use touchline_proto::TENANT_CHARS_MAX;

/// The name of a resource of a tenant.
pub(crate) fn child(tenant: &str, collection: &str, id: &str) -> String {
    format!("tenants/{}/{collection}/{}", escape(tenant), escape(id))
}

/// The tenant of `tenants/{tenant}`.
pub(crate) fn tenant(field: &str, name: &str) -> Result<String, Status> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["tenants", tenant] if !tenant.is_empty() => checked(field, unescape(tenant)),
        _ => Err(error::invalid(field, "has the form tenants/{tenant}")),
    }
}

/// Tenant and id of `tenants/{tenant}/{collection}/{id}`.
pub(crate) fn parse(field: &str, collection: &str, name: &str) -> Result<(String, String), Status> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["tenants", tenant, found, id] if *found == collection && !tenant.is_empty() && !id.is_empty() => {
            Ok((checked(field, unescape(tenant))?, unescape(id)))
        }
        _ => Err(error::invalid(field, format!("has the form tenants/{{tenant}}/{collection}/{{id}}"))),
    }
}

/// Tenant and contact of `tenants/{tenant}/contacts/{contact_id}`.
pub(crate) fn contact(field: &str, name: &str) -> Result<(String, ContactId), Status> {
    let (tenant, id) = parse(field, "contacts", name)?;
    let id =
        ContactId::parse(&id).ok_or_else(|| error::invalid(field, "contact ids have 26 characters a-z and 2-7"))?;
    Ok((tenant, id))
}

/// A tenant that could lie in the log.
fn checked(field: &str, tenant: String) -> Result<String, Status> {
    if tenant.chars().count() > TENANT_CHARS_MAX {
        return Err(error::invalid(field, format!("tenants have at most {TENANT_CHARS_MAX} characters")));
    }
    Ok(tenant)
}

fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

fn unescape(part: &str) -> String {
    part.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_what_is_none_is_refused() {
        let name = child("a/b%2F", "boards", "商机看板");
        assert_eq!(name, "tenants/a%2Fb%252F/boards/商机看板");
        assert_eq!(parse("name", "boards", &name).unwrap(), ("a/b%2F".to_owned(), "商机看板".to_owned()));
        for bad in ["", "tenants/", "tenants/a/b", "tenants/a/boards/", "acme", "tenants//boards/x"] {
            assert!(parse("name", "boards", bad).is_err(), "{bad}");
        }
        assert!(tenant("parent", "tenants/").is_err() && tenant("parent", "tenants/a").is_ok());
        assert!(contact("name", "tenants/a/contacts/short").is_err());
    }
}
