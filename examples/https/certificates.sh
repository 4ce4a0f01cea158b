#!/bin/sh
# Makes an authority, a certificate for localhost, and one for the person ann, in the folder tls. Needs openssl.
set -eu
umask 077
mkdir -p tls
cd tls

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 397 -subj "/CN=The authority of an example" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout authority.key -out authority.pem 2>/dev/null

# issue FILE SUBJECT ALTERNATIVE_NAMES PURPOSE
issue() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=%s\n' "$3" "$4" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 397 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
    rm "$1.csr" "$1.ext"
}

issue site "/CN=localhost" "DNS:localhost,IP:127.0.0.1,IP:::1" serverAuth
issue ann "/O=Example/CN=ann" "email:ann@example.com" clientAuth
echo "wrote tls/authority.pem, tls/site.pem and tls/ann.pem, each with its key"
