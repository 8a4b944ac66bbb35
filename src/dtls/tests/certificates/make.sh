#!/bin/sh
# Makes the certificates of the tests anew. Their validity is wide, and tests name the time, so it is done once.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
days=36500

key() { openssl ecparam -name "${2:-prime256v1}" -genkey -noout -out "$work/$1.sec1"
        openssl pkcs8 -topk8 -nocrypt -in "$work/$1.sec1" -out "$work/$1.key"; }
request() { openssl req -new -key "$work/$1.key" -subj "$2" -out "$work/$1.csr"; }
# sign NAME ISSUER [EXTENSIONS]; without extensions openssl makes version 1
sign() {
    if [ "$#" -gt 2 ]; then
        printf '%b' "$3" >"$work/$1.ext"
        set -- "$1" "$2" -extfile "$work/$1.ext"
    fi
    name=$1 issuer=$2
    shift 2
    openssl x509 -req -in "$work/$name.csr" -CA "$issuer.pem" -CAkey "$work/$issuer.key" -days $days \
        -out "$name.pem" "$@" 2>/dev/null
}
root() { openssl req -x509 -new -key "$work/$1.key" -subj "$2" -days $days -out "$1.pem"; }

key ca; root ca "/O=acme/CN=Device CA"
key other_ca; root other_ca "/O=acme/CN=Device CA"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/rsa_ca.key" 2>/dev/null
root rsa_ca "/O=acme/CN=RSA CA"
key root_ca secp384r1; root root_ca "/O=acme/CN=P-384 root"
key sub_ca secp384r1; request sub_ca "/O=acme/CN=P-384 sub"
sign sub_ca root_ca "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
key no_sign_ca; request no_sign_ca "/O=acme/CN=No signing"
sign no_sign_ca ca "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature"
key v1_ca; request v1_ca "/O=acme/CN=Version 1 sub"; sign v1_ca ca

leaf="basicConstraints=CA:FALSE"
key server; request server "/CN=gateway.example"
sign server ca "$leaf\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:gateway.example"
key device
for name in device_v1 device device_by_sub device_by_rsa device_by_rsa_v1 device_by_no_sign device_by_v1 \
    device_server_use device_no_signature device_as_ca; do
    cp "$work/device.key" "$work/$name.key.tmp" && mv "$work/$name.key.tmp" "$work/$name.key"
    request "$name" "/O=acme/CN=lamp-1"
done
sign device_v1 ca
sign device ca "$leaf\nextendedKeyUsage=clientAuth\nkeyUsage=digitalSignature"
sign device_by_sub sub_ca "$leaf"
sign device_by_rsa rsa_ca "$leaf"
sign device_by_rsa_v1 rsa_ca
sign device_by_no_sign no_sign_ca "$leaf"
sign device_by_v1 v1_ca "$leaf"
sign device_server_use ca "$leaf\nextendedKeyUsage=serverAuth"
sign device_no_signature ca "$leaf\nkeyUsage=keyAgreement"
sign device_as_ca ca "basicConstraints=CA:TRUE"
key device_p384 secp384r1; request device_p384 "/O=acme/CN=lamp-2"; sign device_p384 ca "$leaf"
request_names="/O=acme/O=other/CN=lamp-3"
key two_names; request two_names "$request_names"; sign two_names ca "$leaf"

cp "$work/server.key" server.key.pem
cp "$work/device.key" device.key.pem
cp "$work/device.sec1" device.sec1.pem
cp "$work/device_p384.key" device_p384.key.pem
openssl pkey -in device.key.pem -pubout -out device.pub.pem
