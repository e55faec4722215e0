"""Every algorithm, reward and search is tried on another device and in half precision, beside the CPU in float32: `test_devices_*.py`."""

from accord.catalogue import methods
from test_devices_pictures import PICTURES, SEARCHES
from test_devices_rewards import CURATED, FITTINGS, HEADS, ON_WORDS
from test_devices_words import ACTS, TEXT


def test_every_entry_of_the_catalogue_has_such_a_test() -> None:
    elsewhere = {*ON_WORDS, *FITTINGS, *HEADS, *CURATED, *SEARCHES}
    # Of policies that read words and pictures alike there is none yet.
    tried = {
        "text": {*TEXT, *elsewhere},
        "multimodal": {*TEXT, *elsewhere},
        "image": {*PICTURES, *elsewhere},
        "control": {*ACTS, *elsewhere},
    }
    missing = [f"{m.name} on {kind}" for m in methods() if m.entry for kind in m.modality if m.name not in tried[kind]]
    assert not missing, "add it to TEXT, PICTURES, ACTS, ON_WORDS, FITTINGS, HEADS, CURATED or SEARCHES above"
