//! Every call, in the order of the router: what it takes, what it answers, what is particular about its errors.

use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, SchemaFormat};

use super::call::{Call, binary, flag};
use super::values::{text, words};
use crate::admin::device_rows::JsonRow;
use crate::admin::{
    audit, bulk, cohorts, deployments, device_cas, devices, export, figures, import, keys, packages,
};
use crate::admin::{sessions, shapes, timeline};
use crate::control::{AUDIT_ACTIONS, FailureCause, Span};
use crate::fleet::{DeviceName, Role, Stage, Tag};

/// All of them.
pub fn all() -> impl Iterator<Item = Call> {
    let by_tag = [
        ("Packages", packages()),
        ("Artifacts", artifacts()),
        ("Cohorts", cohorts()),
        ("Deployments", deployments()),
        ("Figures", figures()),
        ("Devices", devices()),
        ("Many devices", many_devices()),
        ("Credentials", credentials()),
        ("Sessions", sessions()),
        ("Audit", audit()),
        ("Device CAs", device_cas()),
        ("API keys", keys()),
        ("Gateway", gateway()),
    ];
    by_tag
        .into_iter()
        .flat_map(|(tag, calls)| calls.into_iter().map(move |call| call.tagged(tag)))
}

fn packages() -> Vec<Call> {
    vec![
        Call::get("/packages", "listPackages", "Lists the packages by name.")
            .needs(Role::Read)
            .filter("name", text("The package of this name."))
            .lists::<shapes::Package>(),
        Call::post("/packages", "createPackage", "Creates a package.")
            .needs(Role::Deploy)
            .takes::<packages::Create>()
            .answers::<shapes::Package>(201, "It was created.")
            .refuses(409, "The name is taken, or the `Idempotency-Key` is in use."),
        Call::get("/packages/{package}", "getPackage", "Shows a package.")
            .needs(Role::Read)
            .answers::<shapes::Package>(200, "The package."),
        Call::delete(
            "/packages/{package}",
            "deletePackage",
            "Deletes a package that has no artifacts.",
        )
        .needs(Role::Deploy)
        .answers_nothing("It was deleted.")
        .refuses(409, "It has artifacts; `neededBy` names some.")
        .refuses(422, "It is not the name of a package."),
    ]
}

fn artifacts() -> Vec<Call> {
    let digest = |other: &str| text(other).pattern(Some("^sha-256=:[A-Za-z0-9+/]{43}=:$"));
    vec![
        Call::get("/packages/{package}/artifacts", "listArtifacts", "Lists the artifacts of a package, newest first.")
            .needs(Role::Read)
            .lists::<shapes::Artifact>(),
        Call::put("/packages/{package}/artifacts/{version}", "uploadArtifact", "Uploads an artifact.")
            .explained(
                "The body is streamed. It becomes an artifact when all of it has arrived and has the declared SHA-256; otherwise \
                 nothing is left behind.",
            )
            .needs(Role::Deploy)
            .header("Content-Digest", digest("The SHA-256 that the bytes should have (RFC 9530)."))
            .header("Repr-Digest", digest("The same."))
            .header(
                "Digest",
                text("The same (RFC 3230).").pattern(Some("^sha-256=[A-Za-z0-9+/]{43}=$")),
            )
            .takes_as("application/octet-stream", binary("The bytes; at least one."))
            .answers::<shapes::Artifact>(201, "It was stored.")
            .answers::<shapes::Artifact>(200, "The same bytes are there already.")
            .refuses(409, "Other bytes are there: an artifact is immutable.")
            .refuses(422, "The bytes are not those declared, there are none, or a name is not one."),
        Call::get("/packages/{package}/artifacts/{version}", "getArtifact", "Shows an artifact.")
            .needs(Role::Read)
            .answers::<shapes::Artifact>(200, "The artifact."),
        Call::delete(
            "/packages/{package}/artifacts/{version}",
            "deleteArtifact",
            "Deletes an artifact that no deployment names.",
        )
        .needs(Role::Deploy)
        .answers_nothing("It was deleted.")
        .refuses(409, "A deployment names it; `neededBy` says which.")
        .refuses(422, "It is not the name of a package, or no version."),
        Call::get(
            "/packages/{package}/artifacts/{version}/content",
            "downloadArtifact",
            "Downloads the bytes of an artifact.",
        )
        .needs(Role::Read)
        .reads_the_store()
        .answers_as(200, "The bytes.", "application/octet-stream", binary("All of them."))
        .with(200, "ETag", "The SHA-256 of the bytes.")
        .with(200, "Content-Disposition", "A name for the file.")
        .header("If-None-Match", text("The `ETag` of an answer that is kept."))
        .answers_empty(304, "The bytes are those of that answer."),
    ]
}

fn cohorts() -> Vec<Call> {
    vec![
        Call::get("/cohorts", "listCohorts", "Lists the cohorts.")
            .needs(Role::Read)
            .filter("name", text("The cohort of this name."))
            .lists::<shapes::Cohort>(),
        Call::post("/cohorts", "createCohort", "Creates a cohort.")
            .needs(Role::Deploy)
            .takes::<cohorts::Create>()
            .answers::<shapes::Cohort>(201, "It was created.")
            .refuses(409, "The name is taken, or the `Idempotency-Key` is in use."),
        Call::get("/cohorts/{cohort}", "getCohort", "Shows a cohort.")
            .needs(Role::Read)
            .answers::<shapes::Cohort>(200, "The cohort."),
        Call::delete(
            "/cohorts/{cohort}",
            "deleteCohort",
            "Deletes a cohort without devices and deployments.",
        )
        .needs(Role::Deploy)
        .answers_nothing("It was deleted.")
        .refuses(409, "It has devices or deployments; `neededBy` names some."),
    ]
}

fn deployments() -> Vec<Call> {
    vec![
        Call::get(
            "/cohorts/{cohort}/deployments",
            "listDeployments",
            "Lists the deployments of a cohort, newest first.",
        )
        .needs(Role::Read)
        .lists::<shapes::Deployment>(),
        Call::post("/cohorts/{cohort}/deployments", "createDeployment", "Deploys a set of package versions.")
            .explained(
                "It becomes the active deployment of the cohort, and its devices are told at once. A deployment is never changed, \
                 reverted or deleted; to roll back, deploy the older versions anew.",
            )
            .needs(Role::Deploy)
            .takes::<deployments::Create>()
            .answers::<shapes::Deployment>(201, "It is active.")
            .refuses(
                409,
                "Somebody deployed since: `activeDeploymentId` says what, `changes` what would be changed against that. Or the \
                 name is taken, or the `Idempotency-Key` is in use.",
            ),
        Call::post(
            "/cohorts/{cohort}/deployments:preview",
            "previewDeployment",
            "Says what a deployment would do, without doing it.",
        )
        .needs(Role::Read)
        .changes_nothing()
        .takes::<deployments::Create>()
        .answers::<deployments::Preview>(200, "What it would do.")
        .refuses(
            409,
            "Somebody deployed since, the name is taken, or the `Idempotency-Key` is in use.",
        ),
        Call::get("/deployments/{deployment}", "getDeployment", "Shows a deployment.")
            .needs(Role::Read)
            .answers::<shapes::Deployment>(200, "The deployment."),
        Call::get(
            "/deployments/{deployment}/progress",
            "getDeploymentProgress",
            "Says how far a deployment has come.",
        )
        .needs(Role::Read)
        .reads_the_store()
        .answers::<deployments::CountedProgress>(200, "Its devices, by what is known of each."),
        Call::get(
            "/deployments/{deployment}/progress/history",
            "getDeploymentHistory",
            "Says how a deployment came along.",
        )
        .needs(Role::Read)
        .reads_the_store()
        .answers::<figures::DeploymentHistory>(200, "A few hundred points at most, oldest first."),
    ]
}

fn figures() -> Vec<Call> {
    vec![
        Call::get(
            "/figures",
            "getFigures",
            "Says what the fleet is doing, as last counted.",
        )
        .needs(Role::Read)
        .answers::<figures::Figures>(200, "The figures."),
        Call::get(
            "/figures/history",
            "getFiguresHistory",
            "Says what the fleet did over time.",
        )
        .needs(Role::Read)
        .reads_the_store()
        .filter(
            "span",
            words(
                "How far back; absent: `hour`. A day and a week are a little more than that.",
                Span::ALL.map(Span::as_str),
            ),
        )
        .answers::<figures::FleetHistory>(200, "A few hundred points at most, oldest first.")
        .refuses(422, "There is no such span."),
    ]
}

/// What a list or a file of devices can be narrowed down to.
fn of_devices(call: Call) -> Call {
    call.filter_by::<DeviceName>("name")
        .filter(
            "cohort",
            text("Those of this cohort, by id or name; empty: those of none."),
        )
        .filter_by::<Tag>("tag")
        .filter("search", text("Those whose name begins with this."))
        .filter("online", flag("Those that are connected, or those that are not."))
        .filter(
            "state",
            words(
                "Those that stand so with their cohort's active deployment. Where few of many do, a page may be short and still have \
                 a next one.",
                Stage::ALL.map(Stage::as_str),
            ),
        )
        .filter(
            "version",
            text("Those that run this: `package@version`. As for `state`.")
                .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}@[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$")),
        )
        .refuses(404, "There is no such project or cohort.")
}

fn devices() -> Vec<Call> {
    vec![
        of_devices(Call::get("/devices", "listDevices", "Lists the devices in the order in which they were made."))
            .needs(Role::Read)
            .reads_the_store()
            .lists::<devices::Device>(),
        Call::post("/devices", "createDevice", "Creates a device.")
            .explained("A PSK's identity and secret that are absent are made; the secret is shown in this answer and never again.")
            .needs(Role::Deploy)
            .takes::<devices::Create>()
            .answers::<devices::Device>(201, "It was created.")
            .refuses(
                409,
                "The name or an identity is taken, a certificate was revoked, or the `Idempotency-Key` is in use.",
            ),
        Call::get("/devices/{device}", "getDevice", "Shows everything that is known of a device.")
            .needs(Role::Read)
            .reads_the_store()
            .answers::<devices::Device>(200, "The device."),
        Call::patch("/devices/{device}", "updateDevice", "Moves, tags, enables or disables a device.")
            .explained("What is absent stays as it is. Moving a device into a cohort starts its update at once.")
            .needs(Role::Deploy)
            .takes::<devices::Update>()
            .answers::<devices::Device>(200, "The device as it is from here on.")
            .refuses(
                409,
                "The device would see the sequence number fall: `lint` says how. With `allowSequenceBack` it is done all the same.",
            ),
        Call::delete("/devices/{device}", "deleteDevice", "Deletes a device and ends its session.")
            .needs(Role::Deploy)
            .answers_nothing("It was deleted."),
        Call::post("/devices/{device}:push", "pushManifest", "Sends a device its manifest again.")
            .needs(Role::Deploy)
            .answers::<devices::Pushed>(202, "It is sent now, or when the device connects."),
        Call::get("/devices/{device}/events", "listDeviceEvents", "Lists what happened to a device, newest first.")
            .needs(Role::Read)
            .reads_the_store()
            .filter("type", text("Only these types, with commas between them."))
            .lists::<timeline::Entry>(),
    ]
}

fn many_devices() -> Vec<Call> {
    vec![
        Call::post("/devices:import", "importDevices", "Creates devices out of a file, row by row, as it arrives.")
            .explained(
                "The answer is a stream of lines beside the upload: a line for each row that was refused or has something to show, \
                 one with the counts so far after each commit, and a last one that says whether the file was read to its end. \
                 The same file sent again changes nothing that it has changed already, so this call takes no `Idempotency-Key`. \
                 A CSV file names its columns in its first line: `name`, `cohort`, `tags` (with `;` between them), `enabled`, \
                 `identity`, `secret`, `secretHex`, and `identity2` to `identity8` and so on for further credentials.",
            )
            .needs(Role::Deploy)
            .never_once()
            .filter("update", flag("Devices that are there are made to be as their row says; otherwise such a row is refused."))
            .filter("allowSequenceBack", flag("Devices may be moved although they would see the sequence number fall."))
            .takes_as(
                "text/csv",
                text("The file.").examples(["name,cohort,tags\nlamp-7,,north;street\n"]),
            )
            .takes_lines::<JsonRow>(
                "application/x-ndjson",
                "The file: in each line, a JSON object as `DeviceRow` describes it.",
                "{\"name\": \"lamp-8\", \"tags\": [\"north\"]}\n",
            )
            .answers_lines::<import::ImportLine>(
                200,
                "What becomes of the rows.",
                "application/x-ndjson",
                "In each line, a JSON object as `ImportLine` describes it.",
            ),
        of_devices(Call::get("/devices:export", "exportDevices", "Downloads devices as a file that can be imported again."))
            .explained("Secrets are never in it.")
            .needs(Role::Read)
            .reads_the_store()
            .filter("format", words("Absent: `csv`.", ["csv", "ndjson"]))
            .answers_as(200, "The file.", "text/csv", text("With a line of column names first."))
            .answers_lines::<export::ExportedDevice>(
                200,
                "The file.",
                "application/x-ndjson",
                "In each line, a JSON object as `ExportedDevice` describes it.",
            )
            .with(200, "Content-Disposition", "A name for the file.")
            .refuses(422, "A value is not accepted; `errors` says which and why."),
        Call::post("/devices:update", "updateDevices", "Changes many devices in the same way.")
            .explained("Those that are named, or those with a tag or of a cohort. Some hundred at a time; each is changed or not by itself.")
            .needs(Role::Deploy)
            .takes::<bulk::Update>()
            .answers::<bulk::Updated>(200, "What became of them.")
            .refuses(
                409,
                "Devices would see the sequence number fall: `lint` names some. Nothing was changed; with `allowSequenceBack` it is \
                 done all the same. Or the `Idempotency-Key` is in use.",
            ),
        Call::post("/devices:updatePreview", "previewDevicesUpdate", "Says what changing many devices would do, without doing it.")
            .needs(Role::Read)
            .changes_nothing()
            .takes::<bulk::Update>()
            .answers::<bulk::Preview>(200, "What would follow."),
    ]
}

fn credentials() -> Vec<Call> {
    vec![
        Call::get(
            "/devices/{device}/credentials",
            "listCredentials",
            "Lists the credentials of a device.",
        )
        .needs(Role::Read)
        .reads_the_store()
        .lists::<shapes::Credential>(),
        Call::post(
            "/devices/{device}/credentials",
            "addCredential",
            "Gives a device one more credential.",
        )
        .explained("A secret that is made is shown in this answer and never again.")
        .needs(Role::Deploy)
        .takes::<devices::Credential>()
        .answers::<shapes::Credential>(201, "It was added.")
        .refuses(
            409,
            "The identity is taken, the certificate was revoked, or the `Idempotency-Key` is in use.",
        ),
        Call::delete(
            "/devices/{device}/credentials/{credential}",
            "removeCredential",
            "Takes a credential away from a device, and ends the session that was opened with it.",
        )
        .needs(Role::Deploy)
        .answers_nothing("It was removed."),
    ]
}

fn sessions() -> Vec<Call> {
    vec![
        Call::get(
            "/sessions",
            "listSessions",
            "Lists the devices that are connected.",
        )
        .needs(Role::Read)
        .reads_the_store()
        .lists::<sessions::SessionOfDevice>(),
        Call::get(
            "/sessions/failures",
            "listHandshakeFailures",
            "Lists handshakes that failed lately, newest first.",
        )
        .needs(Role::Read)
        .filter_by::<FailureCause>("reason")
        .filter(
            "identity",
            text("What was offered: an identity, or the SHA-256 of a certificate or key."),
        )
        .lists::<sessions::HandshakeFailure>(),
    ]
}

/// A server-sent event, as the HTML standard has it.
fn one_event() -> ObjectBuilder {
    ObjectBuilder::new()
        .description(Some("An event; they come one after the other."))
        .property("id", text("The number of the line of the audit; none of what is not in it."))
        .property("event", text("The action of the line, or `fleet`."))
        .required("event")
        .property(
            "data",
            text("The line as `AuditLine` describes it; of `fleet`: `at`, `reports` since the one before, and how many devices are `online`.")
                .content_media_type("application/json"),
        )
        .required("data")
}

fn audit() -> Vec<Call> {
    vec![
        Call::get("/audit", "listAudit", "Lists who did what, newest first.")
            .explained(
                "What concerns the installation and no project, such as API keys, is listed for who administers it.",
            )
            .needs(Role::Read)
            .reads_the_store()
            .filter("actor", text("Who did it: the name of an API key, or `system`."))
            .filter("action", words("What was done.", AUDIT_ACTIONS))
            .filter("subject", text("To what it was done: an id, or the name of a cohort, deployment, device, package, version (`main@1.4.0`), CA or key. What is gone is found by its id."))
            .filter("since", text("Not before this time, in RFC 3339.").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
            .filter("until", text("Before this time, in RFC 3339.").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
            .lists::<audit::AuditLine>(),
        Call::get("/events", "streamEvents", "Tells what happens, as it happens.")
            .explained(
                "Server-sent events. Those with an `id` are the lines of the audit, named by their action. `fleet`, at most twice a \
                 second, says that something moved. `Last-Event-ID` resumes exactly after the line of that number.",
            )
            .needs(Role::Read)
            .filter("lastEventId", text("As the header, for tools that cannot set it.").pattern(Some("^[0-9]{1,18}$")))
            .header("Last-Event-ID", text("The number of the last line received.").pattern(Some("^[0-9]{1,18}$")))
            .answers_as(200, "The events.", "text/event-stream", one_event())
            .refuses(503, "As many streams are open as there may be."),
    ]
}

fn device_cas() -> Vec<Call> {
    vec![
        Call::get("/device-cas", "listDeviceCas", "Lists the CAs that are believed about devices.")
            .needs(Role::Read)
            .filter("name", text("The CA of this name."))
            .lists::<device_cas::DeviceCa>(),
        Call::post("/device-cas", "createDeviceCa", "Believes a CA about the devices of the project.")
            .needs(Role::Admin)
            .takes::<device_cas::Create>()
            .takes_as("application/x-pem-file", text("The certificate alone."))
            .takes_as("application/pem-certificate-chain", text("The certificate alone."))
            .answers::<device_cas::DeviceCa>(201, "It is believed from here on.")
            .answers::<device_cas::DeviceCa>(200, "It is believed already.")
            .refuses(409, "The name is taken, or the certificate is there with other settings, or the `Idempotency-Key` is in use."),
        Call::get("/device-cas/{ca}", "getDeviceCa", "Shows a CA.")
            .needs(Role::Read)
            .answers::<device_cas::DeviceCa>(200, "The CA."),
        Call::delete("/device-cas/{ca}", "deleteDeviceCa", "Believes a CA no longer.")
            .explained("Devices that it had vouched for have to come with something else from here on.")
            .needs(Role::Admin)
            .answers::<device_cas::Removed>(200, "How many devices that concerns."),
    ]
}

fn keys() -> Vec<Call> {
    vec![
        Call::get("/keys", "listKeys", "Lists the API keys.")
            .needs(Role::Admin)
            .lists::<shapes::ApiKey>(),
        Call::post(
            "/keys",
            "createKey",
            "Makes an API key, which is shown in this answer and never again.",
        )
        .needs(Role::Admin)
        .takes::<keys::Create>()
        .answers::<shapes::ApiKey>(201, "It may be used."),
        Call::delete("/keys/{key}", "revokeKey", "Revokes an API key at once.")
            .needs(Role::Admin)
            .answers_nothing("It is known no longer.")
            .refuses(409, "It is the last key that may manage keys."),
    ]
}

fn gateway() -> Vec<Call> {
    vec![
        Call::get("/v1/openapi.json", "getOpenApi", "Shows this document.").answers_as(
            200,
            "OpenAPI 3.1.",
            "application/json",
            Object::new(),
        ),
        Call::get("/livez", "live", "Says that the process answers.")
            .answers_as(200, "It does.", "text/plain", text("`ok`")),
        Call::get("/readyz", "ready", "Says whether the gateway takes work.")
            .explained("The sockets are bound, recovery is done, the store takes writes, and no shutdown is under way.")
            .answers_as(200, "It does.", "text/plain", text("`ready`"))
            .refuses(503, "It does not; `detail` says why."),
        Call::get("/metrics", "metrics", "Shows what the gateway counts.")
            .explained("An API key is needed if `admin.metrics_auth` is set.")
            .needs_a_key_if_configured()
            .answers_as(
                200,
                "The metrics.",
                "text/plain",
                text("In Prometheus' text exposition format."),
            ),
    ]
}
