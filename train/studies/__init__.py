"""Reader studies: folders of pictures that a person judges, the answers, and what they say."""
