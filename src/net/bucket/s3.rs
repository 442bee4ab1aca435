//! The bucket, by way of `object_store`.

use std::error::Error as StdError;
use std::io;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, Error, GetOptions, GetRange, MultipartUpload, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, RetryConfig,
};

use super::over::{Answered, Over};
use super::{BucketOptions, Fault, Keys, Object, PART};
use crate::net::client::SendError;
use crate::net::dial::Dialer;

/// Most parts of one object, as S3 counts them, with some to spare.
const MOST_PARTS: u64 = 9_000;
/// Longest reason that is told.
const MAX_REASON: usize = 200;

/// A bucket.
pub struct Bucket(AmazonS3);

impl Bucket {
    /// A bucket with a pool of connections of its own. Reads the machine's certificates; asks nobody.
    ///
    /// # Errors
    /// A sentence, if the options make no bucket.
    pub fn new(options: &BucketOptions, dialer: &Dialer) -> Result<Self, String> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_http_connector(Over::new(dialer, &options.ca))
            // Who reads has another source at once; what could not be put there is put there another time.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            });
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.to_string());
        }
        builder = match &options.keys {
            Keys::Written { id, secret } => builder
                .with_access_key_id(id)
                .with_secret_access_key(secret.expose()),
            Keys::Offered(variables) => {
                variables.iter().fold(
                    builder,
                    |builder, (name, value)| match AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
                        Ok(key) => builder.with_config(key, value.expose()),
                        Err(_) => builder,
                    },
                )
            }
        };
        builder.build().map(Self).map_err(|error| reason(&error))
    }

    /// What stands under a name, from that byte on; `None` if there is nothing. Comes back with the head of the answer.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn get(&self, name: &str, from: u64) -> Result<Option<Object>, Fault> {
        let options = GetOptions {
            range: (from > 0).then_some(GetRange::Offset(from)),
            ..GetOptions::default()
        };
        let found = match self.0.get_opts(&Path::from(name), options).await {
            Err(error) => return absent(&error),
            Ok(found) => found,
        };
        let (start, total) = (found.range.start, found.meta.size);
        let media_type = found.attributes.get(&Attribute::ContentType);
        let media_type = media_type.map(|value| value.as_ref().to_owned());
        let pieces = found.into_stream();
        let pieces = pieces.map(|piece| piece.map(Frame::data).map_err(|error| fault(&error)));
        Ok(Some(Object {
            start,
            total,
            media_type,
            body: StreamBody::new(pieces).boxed_unsync(),
        }))
    }

    /// The length in bytes of what stands under a name; `None` if there is nothing.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn size(&self, name: &str) -> Result<Option<u64>, Fault> {
        match self.0.head(&Path::from(name)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) => absent(&error),
        }
    }

    /// Puts `size` bytes under a name, which `read` gives from one place on, so many at a time. Nobody sees a part of
    /// it before all is there.
    ///
    /// Cancel-safe, but for the parts of what is larger than [`PART`]: the bucket keeps them until a rule of its own
    /// removes them.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn put<F>(
        &self,
        name: &str,
        media_type: Option<&str>,
        size: u64,
        read: impl Fn(u64, u64) -> F,
    ) -> Result<(), Fault>
    where
        F: Future<Output = io::Result<Bytes>>,
    {
        let path = Path::from(name);
        let unread = |error: io::Error| Fault::Failed(format!("the file could not be read: {error}"));
        let typed = |media_type: &str| {
            (
                Attribute::ContentType,
                AttributeValue::from(media_type.to_owned()),
            )
        };
        let attributes = Attributes::from_iter(media_type.map(typed));
        if size <= PART {
            let bytes = read(0, size).await.map_err(unread)?;
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            let put = self.0.put_opts(&path, bytes.into(), options).await;
            return put.map(drop).map_err(|error| fault(&error));
        }
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let begun = self.0.put_multipart_opts(&path, options).await;
        let mut upload = begun.map_err(|error| fault(&error))?;
        let put = async {
            let (mut at, step) = (0, PART.max(size.div_ceil(MOST_PARTS)));
            while at < size {
                let len = step.min(size - at);
                let bytes = read(at, len).await.map_err(unread)?;
                let part = upload.put_part(bytes.into()).await;
                part.map_err(|error| fault(&error))?;
                at += len;
            }
            upload.complete().await.map(drop).map_err(|error| fault(&error))
        };
        let put = put.await;
        if put.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(why = %fault(&error), "the parts of an object stay in the bucket");
        }
        put
    }
}

/// Nothing, if that is what was answered.
fn absent<T>(error: &Error) -> Result<Option<T>, Fault> {
    match error {
        Error::NotFound { source, .. } if !source.to_string().contains("NoSuchBucket") => Ok(None),
        Error::NotFound { .. } => Err(Fault::Failed("there is no such bucket".to_owned())),
        other => Err(fault(other)),
    }
}

fn fault(error: &Error) -> Fault {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(Answered(status)) = error.downcast_ref() {
            return answered(*status);
        }
        if let Some(error) = error.downcast_ref::<SendError>() {
            return Fault::Failed(error.to_string());
        }
        next = error.source();
    }
    match error {
        Error::NotFound { .. } => Fault::Failed("it answered 404".to_owned()),
        other => Fault::Failed(reason(other)),
    }
}

fn answered(status: u16) -> Fault {
    let hint = match status {
        429 | 503 => return Fault::Limited,
        301 | 307 | 400 => ": the bucket is in another region, or elsewhere",
        401 | 403 => ": its keys may not do that; they need s3:GetObject, s3:ListBucket and s3:PutObject",
        _ => "",
    };
    Fault::Failed(format!("it answered {status}{hint}"))
}

/// The innermost reason, without what a stranger could write into it.
fn reason(error: &Error) -> String {
    let mut innermost: &dyn StdError = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_REASON)
        .collect()
}
