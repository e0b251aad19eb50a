from pathlib import Path

import pytest

from infembed.errors import BadConfigError, MissingArtefactError
from training.corpus.trec_topics import Topic, read_topics

OLD = """
<top>
<num> Number: 901
<title> Slugs on
lettuce

<desc> Description:
Which ways keep slugs away?

<narr> Narrative:
A relevant document names a way. Recipes are
not relevant.
</top>
"""
NEW = "<top>\n<num> Number: 902\n<title>Aphids</title>\n<desc>\nWhat do they eat?\n</top>"


def test_both_shapes_of_topic_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "topics.txt").write_text(OLD + NEW)
    assert list(read_topics(tmp_path / "topics.txt")) == [
        Topic(
            "901",
            "Slugs on lettuce",
            "Which ways keep slugs away?",
            "A relevant document names a way. Recipes are not relevant.",
        ),
        Topic("902", "Aphids", "What do they eat?", ""),
    ]


def test_a_file_without_topics_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("301 0 FBIS 1\n")
    with pytest.raises(BadConfigError, match=r"qrels\.txt holds no TREC topics"):
        list(read_topics(tmp_path / "qrels.txt"))
    with pytest.raises(MissingArtefactError, match="no topic file"):
        list(read_topics(tmp_path / "nothing.txt"))


@pytest.mark.shared_data
def test_the_topics_of_followir_can_be_named_by_id(shared_data: Path) -> None:
    robust = {topic.number: topic for topic in read_topics(shared_data / "trec-topics" / "topics.robust04.txt")}
    core = {topic.number for topic in read_topics(shared_data / "trec-topics" / "topics.core17.txt")}
    assert len(robust) == 250
    assert len(core) == 50
    assert all(topic.title and topic.description and topic.narrative for topic in robust.values())
