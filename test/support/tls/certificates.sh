#!/bin/sh
# Makes the certificates of the tests of TLS: sh certificates.sh FOLDER
#
# test/support/tls/index.js runs it once for each process. src/tls/fixtures has a copy of what it
# makes, for the unit tests of Rust, which have no openssl; the dates hold for a hundred years.
set -e
mkdir -p "$1"
cd "$1"

EC='ec -pkeyopt ec_paramgen_curve:P-256'
LONG=36500
HERE='subjectAltName=DNS:localhost,IP:127.0.0.1'

# A CA of its own: name, key.
ca() {
  openssl req -x509 -newkey $2 -nodes -days $LONG -subj "/CN=hyperiondb test CA $1" \
    -keyout "ca-$1.key" -out "ca-$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# What a CA signs: name, key, CA, common name, extensions, options of the signature, days.
leaf() {
  openssl req -newkey $2 -nodes -subj "/CN=$4" -keyout "$1.key" -out "$1.csr"
  printf '%b' "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n$5\n" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA "ca-$3.crt" -CAkey "ca-$3.key" -CAcreateserial \
    -days "${7:-$LONG}" -out "$1.crt" -extfile "$1.ext" $6
}

ca ec "$EC"
ca other "$EC"
ca rsa rsa:2048
ca ed ed25519

leaf server "$EC" ec localhost "$HERE"
leaf revoked "$EC" ec localhost "$HERE"
leaf elsewhere "$EC" ec db.example.com subjectAltName=DNS:db.example.com,DNS:*.example.org
leaf cn "$EC" ec localhost ''
leaf expired "$EC" ec localhost "$HERE" '' -1
leaf rsa rsa:2048 rsa localhost "$HERE"
leaf sha512 rsa:2048 rsa localhost "$HERE" -sha512
leaf pss rsa:2048 rsa localhost "$HERE" \
  '-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48 -sha384'
leaf ed25519 "$EC" ed localhost "$HERE"
leaf client "$EC" ec hyperion ''
leaf renewed "$EC" ec hyperion ''
leaf stranger "$EC" other hyperion ''

# As PostgreSQL's manual makes them (18.9.5): without extensions, and signed by themselves.
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout v1.key -out v1.csr
openssl x509 -req -in v1.csr -CA ca-rsa.crt -CAkey ca-rsa.key -CAcreateserial -days $LONG -out v1.crt
openssl req -x509 -newkey $EC -nodes -days $LONG -subj /CN=localhost -keyout self.key -out self.crt \
  -addext "$HERE"

# A CA between, which the server sends.
openssl req -newkey $EC -nodes -subj '/CN=hyperiondb test CA between' -keyout ca-between.key \
  -out ca-between.csr
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' >ca-between.ext
openssl x509 -req -in ca-between.csr -CA ca-ec.crt -CAkey ca-ec.key -CAcreateserial -days $LONG \
  -out ca-between.crt -extfile ca-between.ext
leaf chained "$EC" between localhost "$HERE"
cat ca-between.crt >>chained.crt

# A server's own certificate, and one that its key has signed, as if it were a CA.
openssl req -x509 -newkey $EC -nodes -days $LONG -subj '/CN=hyperiondb test pinned' \
  -keyout ca-pinned.key -out ca-pinned.crt -addext basicConstraints=critical,CA:FALSE \
  -addext "$HERE"
leaf forged "$EC" pinned localhost "$HERE"

# A CA whose time is over.
openssl req -newkey $EC -nodes -subj '/CN=hyperiondb test CA past' -keyout ca-past.key -out past.csr
printf 'basicConstraints=critical,CA:TRUE\n' >past.ext
openssl x509 -req -in past.csr -signkey ca-past.key -days -1 -out ca-past.crt -extfile past.ext
leaf late "$EC" past localhost "$HERE"

# A CA that must not name this machine, and a certificate with nothing but a common name.
openssl req -x509 -newkey $EC -nodes -days $LONG -subj '/CN=hyperiondb test CA limited' \
  -keyout ca-limited.key -out ca-limited.crt -addext basicConstraints=critical,CA:TRUE \
  -addext nameConstraints=critical,excluded\;DNS:localhost
leaf limited "$EC" limited localhost ''

# Lists: the first revokes nothing, the second one a server and the CA between.
printf '[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\n' >ca.cnf
of() {
  openssl ca -config ca.cnf -cert "ca-$1.crt" -keyfile "ca-$1.key" $2
}
: >index.txt
echo 01 >crlnumber
of ec "-gencrl -crldays $LONG -crl_lastupdate 20200101000000Z -out ec-old.crl"
of other "-gencrl -crldays $LONG -out other.crl"
of between "-gencrl -crldays $LONG -out between.crl"
of ec "-gencrl -crl_lastupdate 20900101000000Z -crl_nextupdate 20910101000000Z -out ec-to-come.crl"
of ec '-revoke revoked.crt'
of ec "-gencrl -crldays $LONG -out ec.crl"
of ec '-revoke ca-between.crt'
of ec "-gencrl -crldays $LONG -out ec-between.crl"

# The client's key in every form that Node reads.
openssl ec -in client.key -out client.sec1.key
openssl pkcs8 -topk8 -in client.key -passout pass:open -v2 aes-256-cbc -out client.encrypted.key
openssl pkcs8 -topk8 -in client.key -nocrypt -outform DER -out client.der

rm -f ./*.csr ./*.ext ./*.srl index.txt* crlnumber* ca.cnf
chmod 600 ./*.key client.der
