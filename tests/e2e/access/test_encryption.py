"""Secrets are stored encrypted: nothing of them is in any file, keys change in full service, a missing key is named."""

from __future__ import annotations

import base64
import json
import signal

CLEAR = "harbour-lights-at-dusk"


def create(server, name, text=CLEAR):
    server.kubectl("create", "secret", "generic", name, f"--from-literal=word={text}")


def read(server, name):
    return base64.b64decode(server.get("secret", name)["data"]["word"]).decode()


def files_with(server, *texts):
    wanted = [form for text in texts for form in (text.encode(), base64.b64encode(text.encode())[:-4])]
    paths = [p for p in server.data.rglob("*") if p.is_file()]
    assert len(paths) > 8
    return [str(p) for p in paths if any(form in p.read_bytes() for form in wanted)]


def keys(server):
    return json.loads((server.data / "pki/encryption.json").read_text())["keys"]


def test_nothing_of_a_secret_is_in_the_files_of_a_server(own_server):
    own_server.start()
    create(own_server, "one")
    own_server.kubectl("create", "configmap", "plain", "--from-literal=word=lighthouse-in-clear")
    own_server.kubectl("patch", "secret", "one", "-p", json.dumps({"stringData": {"more": f"{CLEAR}-again"}}))
    assert files_with(own_server, "lighthouse-in-clear"), "the search finds what is stored in clear"
    assert files_with(own_server, CLEAR) == []
    own_server.stop(signal.SIGKILL)
    assert files_with(own_server, CLEAR) == []
    assert (own_server.data / "pki/encryption.json").stat().st_mode & 0o777 == 0o600
    own_server.start()
    assert read(own_server, "one") == CLEAR


def test_keys_change_while_the_server_works_and_old_ones_can_be_dropped_then(own_server):
    own_server.start()
    for number in range(5):
        create(own_server, f"s{number}")
    (old,) = keys(own_server)
    new = own_server.rekey()
    assert [key["id"] for key in keys(own_server)] == [new, old["id"]]
    own_server.wait_for("everything is encrypted again", lambda: f"encrypted again objects=5 key={new}" in own_server.log)
    assert read(own_server, "s3") == CLEAR
    create(own_server, "later")
    own_server.stop()
    (own_server.data / "pki/encryption.json").write_text(json.dumps({"keys": keys(own_server)[:1]}))
    own_server.start()
    assert {name: read(own_server, name) for name in ("s0", "s4", "later")} == dict.fromkeys(("s0", "s4", "later"), CLEAR)


def test_a_key_that_is_missing_is_named_with_what_it_is_needed_for(own_server):
    own_server.start()
    create(own_server, "one")
    own_server.stop()
    (old,) = keys(own_server)
    own_server.rekey()
    (own_server.data / "pki/encryption.json").write_text(json.dumps({"keys": keys(own_server)[:1]}))
    own_server.launch()
    assert own_server.ended() == 1
    words = f"core/secrets/default/one is encrypted with the key '{old['id']}', which {own_server.data}/pki/encryption.json does not hold"
    assert words in own_server.log


def test_a_file_of_keys_that_others_may_read_is_refused(own_server):
    own_server.start()
    own_server.stop()
    (own_server.data / "pki/encryption.json").chmod(0o640)
    own_server.launch()
    assert own_server.ended() == 2
    assert "encryption.json: others than its owner may read it; chmod 600" in own_server.log


def test_what_is_encrypted_is_configurable_and_follows_the_configuration(own_server):
    own_server.start(encryption={"resources": []})
    create(own_server, "one")
    assert files_with(own_server, CLEAR)
    own_server.stop()
    own_server.start(encryption={"resources": ["secrets", "configmaps", "deployments.apps"]})
    own_server.wait_for("what was clear is encrypted", lambda: "encrypted again objects=" in own_server.log)
    own_server.kubectl("create", "configmap", "two", "--from-literal=word=sealed-map")
    assert files_with(own_server, "sealed-map") == []
    own_server.stop()
    own_server.start(encryption={"resources": []})
    own_server.wait_for("what was encrypted is clear", lambda: own_server.log.count("encrypted again objects=") == 3)
    own_server.stop()
    (own_server.data / "pki/encryption.json").unlink()
    own_server.start(encryption={"resources": []})
    assert read(own_server, "one") == CLEAR
