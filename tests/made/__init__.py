"""What tests are made of: frames, rooms, images and whole data sets in their own formats, a bucket, a toy sweep."""
