"""Sets as TFDS prepares them, written without TensorFlow."""

import pytest


@pytest.fixture
def prepare():
    """Writes a set: `prepare(root, name, {split: [features of a record]})` returns its folder."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2 as feature

    def value(given):
        if isinstance(given, bytes):
            return feature.Feature(bytes_list=feature.BytesList(value=[given]))
        return feature.Feature(int64_list=feature.Int64List(value=[given]))

    def write(root, name, splits, *, file_format="array_record"):
        builder = tfds.builder(name, data_dir=root, file_format=file_format)
        folder = builder.data_path
        folder.mkdir(parents=True)
        infos = []
        for split, records in splits.items():
            files = tfds.core.ShardedFileTemplate(
                data_dir=folder,
                dataset_name=builder.name,
                split=split,
                filetype_suffix=file_format,
            )
            if file_format == "array_record":
                writer = ArrayRecordWriter(str(files.sharded_filepaths(1)[0]), "group_size:1")
                for record in records:
                    features = {key: value(given) for key, given in record.items()}
                    example = tf_example_pb2.Example(features=feature.Features(feature=features))
                    writer.write(example.SerializeToString())
                writer.close()
            infos.append(
                tfds.core.SplitInfo(
                    name=split, shard_lengths=[len(records)], num_bytes=1, filename_template=files
                )
            )
        builder.info.set_splits(tfds.core.SplitDict(infos))
        builder.info.write_to_directory(folder)
        return folder

    return write
