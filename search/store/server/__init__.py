"""An index on a Milvus server or cluster: any number of machines write and read it at once."""
