"""Networks that score pictures: `reward` is what all share, `towers` those that compare a picture with words; every other file is one of them.

Nothing comes along: weights are loaded by the names under which they were published, or from a folder of the same layout.
"""
